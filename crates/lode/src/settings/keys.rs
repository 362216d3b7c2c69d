//! The keys there are, read off the settings' schema: to print them with their meanings and to name the nearest one
//! when a key is misspelt.

use anyhow::bail;
use schemars::Schema;
use serde_json::Value;

use super::Settings;

/// One key: its path, its meaning, and whether it is a table of keys of its own.
pub(super) struct Key {
    /// `payout.fee_address`.
    pub(super) path: String,
    /// Its doc comment.
    pub(super) meaning: String,
}

fn schema() -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema: Schema = settings.into_generator().into_root_schema_for::<Settings>();
    schema.to_value()
}

/// The object schema inside a property's: its own, that of its `Some`, or that of its items.
fn object_of(property: &Value) -> Option<&Value> {
    if property.get("properties").is_some() {
        return Some(property);
    }
    if let Some(items) = property.get("items") {
        return object_of(items);
    }
    property.get("anyOf").or_else(|| property.get("allOf"))?.as_array()?.iter().find_map(object_of)
}

fn meaning_of(property: &Value) -> String {
    let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every key that holds a value, tables left out, in alphabetical order; keys within lists of tables as well.
pub(super) fn all() -> Vec<Key> {
    fn walk(schema: &Value, prefix: &str, keys: &mut Vec<Key>) {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let object = object_of(property);
            if object.is_none() || property.get("items").is_some() {
                keys.push(Key { path: path.clone(), meaning: meaning_of(property) });
            }
            if let Some(object) = object {
                walk(object, &path, keys);
            }
        }
    }
    let mut keys = Vec::new();
    walk(&schema(), "", &mut keys);
    keys
}

/// Every key that can be a flag: those not within lists of tables.
pub(super) fn flags() -> Vec<Key> {
    let mut lists: Vec<String> = Vec::new();
    all()
        .into_iter()
        .filter(|key| {
            let inside = lists.iter().any(|list| key.path.starts_with(&format!("{list}.")));
            lists.push(key.path.clone());
            !inside
        })
        .collect()
}

/// Refuses the first key that is no setting and names the nearest that is.
pub(super) fn refuse_unknown(table: &toml::Table) -> anyhow::Result<()> {
    refuse_in(table, &schema(), "")
}

fn refuse_in(table: &toml::Table, schema: &Value, prefix: &str) -> anyhow::Result<()> {
    let known = schema.get("properties").and_then(Value::as_object);
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let Some(property) = known.and_then(|known| known.get(name)) else {
            let nearest = all()
                .into_iter()
                .map(|key| (strsim::jaro_winkler(&key.path, &path), key.path))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match nearest {
                Some((likeness, nearest)) if likeness > 0.8 => {
                    bail!("there is no setting `{path}`; did you mean `{nearest}`?")
                }
                _ => bail!("there is no setting `{path}`; `lode config` prints all there are"),
            }
        };
        let Some(object) = object_of(property) else { continue };
        match value {
            toml::Value::Table(inner) => refuse_in(inner, object, &path)?,
            toml::Value::Array(items) => {
                for inner in items.iter().filter_map(toml::Value::as_table) {
                    refuse_in(inner, object, &path)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `settings` as TOML, each key with its meaning above it. A key without a value stands behind a `#`.
pub(super) fn print(settings: &Settings) -> String {
    let values = serde_json::to_value(settings).expect("settings are strings, numbers, lists and tables");
    let mut out =
        String::from("# Lode's settings. Each key is also a flag, as in --payout.fee-basis-points 50.\n");
    print_table(&values, &schema(), "", &mut out);
    out
}

fn print_table(values: &Value, schema: &Value, path: &str, out: &mut String) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_table = |name: &str, property: &Value| {
        object_of(property).is_some() && values.get(name).is_some_and(Value::is_object)
    };
    // Plain keys first: in TOML what follows a table's head belongs to it.
    for (name, property) in
        properties.into_iter().flatten().filter(|(name, property)| !is_table(name, property))
    {
        out.push_str(&format!("\n# {}\n", meaning_of(property)));
        let inner =
            property.get("items").and_then(object_of).and_then(|items| items.get("properties")?.as_object());
        for (key, property) in inner.into_iter().flatten() {
            out.push_str(&format!("#   {key}: {}\n", meaning_of(property)));
        }
        match values.get(name).and_then(inline) {
            Some(value) => out.push_str(&format!("{name} = {value}\n")),
            None => out.push_str(&format!("# {name} =\n")),
        }
    }
    for (name, property) in
        properties.into_iter().flatten().filter(|(name, property)| is_table(name, property))
    {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        out.push_str(&format!("\n\n# {}\n[{path}]\n", meaning_of(property)));
        if let (Some(object), Some(inner)) = (object_of(property), values.get(name)) {
            print_table(inner, object, &path, out);
        }
    }
}

/// A value as TOML writes it on one line; nothing for null.
fn inline(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Array(items) => {
            format!("[{}]", items.iter().filter_map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) => {
            let pairs: Vec<String> = table
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} = {}", inline(value)?)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    })
}
