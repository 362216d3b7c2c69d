//! Every key as a flag.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::keys;

/// Settings given as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides(Vec<(String, String)>);

impl Overrides {
    /// Sets `key` (`payout.fee_address`) to `value`, as a flag would.
    pub(crate) fn set(&mut self, key: &str, value: impl ToString) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    /// Puts the flags into `table`. A value that reads as TOML is that; anything else is text.
    pub(super) fn apply(&self, table: &mut toml::Table) {
        for (path, text) in &self.0 {
            let value = format!("value = {text}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut table| table.remove("value"))
                .unwrap_or_else(|| toml::Value::String(text.clone()));
            let (parents, name) =
                path.rsplit_once('.').map_or((None, path.as_str()), |(p, name)| (Some(p), name));
            let mut at = &mut *table;
            for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
                let entry = at.entry(parent).or_insert_with(|| toml::Table::new().into());
                if !entry.is_table() {
                    *entry = toml::Table::new().into();
                }
                at = entry.as_table_mut().expect("made a table just above");
            }
            at.insert(name.to_owned(), value);
        }
    }
}

fn flag_name(path: &str) -> String {
    path.replace('_', "-")
}

impl Args for Overrides {
    fn augment_args(command: Command) -> Command {
        keys::flags().into_iter().fold(command, |command, key| {
            command.arg(
                Arg::new(key.path.clone())
                    .long(flag_name(&key.path))
                    .value_name("VALUE")
                    .help(key.meaning)
                    .help_heading("Settings (each also a key of lode.toml)"),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut overrides = Self::default();
        overrides.update_from_arg_matches(matches)?;
        Ok(overrides)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in keys::flags() {
            if let Ok(Some(value)) = matches.try_get_one::<String>(&key.path) {
                self.set(&key.path, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn parse(flags: &[&str]) -> Result<Settings, String> {
        let command = Overrides::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).map_err(|error| error.to_string())?;
        let overrides = Overrides::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Settings::load(None, &overrides).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let settings = parse(&[
            "--coin",
            "litecoin",
            "--payout.fee-basis-points",
            "150",
            "--payout.window",
            "solo",
            "--web.bind",
            "127.0.0.1:0",
            "--node.connect",
            "[\"127.0.0.1:1\"]",
            "--node.external",
            "[{ url = \"http://127.0.0.1:2\" }]",
        ])
        .unwrap();
        assert_eq!(settings.coin, "litecoin");
        assert_eq!(settings.payout.fee_basis_points, 150);
        assert_eq!(settings.web.bind.port(), 0);
        assert_eq!(settings.node.connect.len(), 1);
        assert_eq!(settings.node.external[0].url, "http://127.0.0.1:2");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(parse(&["--payout.fee-basis-points", "many"]).is_err());
        assert!(parse(&["--payout.fee-basis-point", "1"]).unwrap_err().contains("--payout.fee-basis-points"));
    }
}
