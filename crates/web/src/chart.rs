//! A line over time as SVG, made on the server.

use maud::{Markup, html};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;

/// A filled line through `points` (`(Unix seconds, value)`, oldest first), from zero to the greatest value, with
/// `top` as the label of the latter. Nothing for fewer than two points.
pub(crate) fn line(points: &[(u64, f64)], top: &str, label: &str) -> Markup {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    if points.len() < 2 || last.0 <= first.0 {
        return html! {};
    }
    let greatest = points.iter().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let span = (last.0 - first.0) as f64;
    let path: Vec<String> = points
        .iter()
        .map(|(time, value)| {
            let x = (time.saturating_sub(first.0)) as f64 / span * WIDTH;
            let y = HEIGHT - value.max(0.0) / greatest * (HEIGHT - 4.0);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let path = path.join(" ");
    html! {
        figure.chart {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label) {
                polygon points=(format!("0,{HEIGHT} {path} {WIDTH},{HEIGHT}")) {}
                polyline points=(path) {}
            }
            figcaption { span { (label) } span { "peak " (top) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_points_draw_nothing() {
        assert_eq!(line(&[], "", "").into_string(), "");
        assert_eq!(line(&[(1, 1.0)], "", "").into_string(), "");
        assert_eq!(line(&[(1, 1.0), (1, 2.0)], "", "").into_string(), "");
    }

    #[test]
    fn the_peak_touches_the_top_and_zero_the_ground() {
        let svg = line(&[(0, 0.0), (10, 5.0)], "5 H/s", "rate").into_string();
        assert!(svg.contains("0.0,120.0 720.0,4.0"), "{svg}");
    }
}
