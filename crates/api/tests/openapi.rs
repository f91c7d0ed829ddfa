//! The OpenAPI document is a frozen surface: `contracts/openapi.json`.

use std::collections::BTreeSet;
use std::path::Path;

use bhatti_api::openapi::document;
use bhatti_api::routes::ROUTES;
use serde_json::Value;

#[test]
fn the_document_is_the_one_in_contracts() {
    let found = document().to_pretty_json().unwrap() + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/openapi.json");
    // BLESS=1 writes the file anew, for a change of the API that is meant.
    if std::env::var_os("BLESS").is_some() {
        fs_err::write(&golden, &found).unwrap();
    }
    let expected = fs_err::read_to_string(&golden).unwrap_or_default();
    assert!(
        found == expected,
        "the API changed; if this is meant: BLESS=1 cargo nextest run -p bhatti-api"
    );
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{method} {path}"))
        })
        .collect();
    let routed: BTreeSet<String> = ROUTES
        .iter()
        .map(|route| format!("{} {}", route.method.as_str().to_lowercase(), route.path))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_schema_that_is_referred_to_is_there() {
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                    into.insert(name.rsplit('/').next().unwrap().to_owned());
                }
                map.values().for_each(|value| references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
    let mut wanted = BTreeSet::new();
    references(&document, &mut wanted);
    let there = document["components"]["schemas"].as_object().unwrap();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !there.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
