//! The OpenAPI document, generated from the handlers and served by the binary.

use std::sync::Arc;

use axum::Json;
use axum::extract::Extension;
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, SecurityRequirement};

use super::error::{Refusals, outcome_schema};
use crate::front::app::KnownApp;

/// The document without its servers, which differ by application.
#[derive(Clone, Debug)]
pub struct Document(Arc<Value>);

impl Document {
    /// Of what the routers have collected.
    pub fn of(api: &OpenApi) -> Self {
        // Writing plain data to JSON does not fail; an empty document would be noticed by tests.
        Self(Arc::new(serde_json::to_value(api).unwrap_or_default()))
    }

    fn for_app(&self, app: &str) -> Value {
        let mut document = (*self.0).clone();
        if let Some(fields) = document.as_object_mut() {
            let url = format!("/{app}/rest/v2");
            fields.insert("servers".to_owned(), json!([{ "url": url }]));
        }
        document
    }
}

/// What the document says besides operations: its name, the schema that every refusal refers to,
/// and the JWT that an application may ask for.
pub fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Leafcutter REST v2")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The REST interface of one application, compatible with Ant Media Server's.",
        ))
        .license(Some(
            utoipa::openapi::LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let mut api = OpenApiBuilder::new().info(info).build();
    let mut components = utoipa::openapi::Components::new();
    let (name, schema) = outcome_schema();
    components.schemas.insert(name, schema);
    let jwt = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "HS256 with jwtSecretKey; asked for while jwtControlEnabled is true",
        ))
        .build();
    components.add_security_scheme(JWT, SecurityScheme::Http(jwt));
    api.components = Some(components);
    // The empty alternative: the filter is off by default.
    let none = SecurityRequirement::default();
    api.security = Some(vec![
        none,
        SecurityRequirement::new(JWT, Vec::<String>::new()),
    ]);
    api
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "server",
    responses((status = 200, description = "As asked", body = Object, content_type = "application/json"), Refusals)
)]
pub async fn show(app: KnownApp, Extension(document): Extension<Document>) -> Json<Value> {
    Json(document.for_app(&app.name))
}

/// The name of the security scheme.
const JWT: &str = "appJwt";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        let (_, api) = super::super::operations().split_for_parts();
        Document::of(&api).for_app("live")
    }

    /// `GET /path` of every operation.
    fn operations() -> BTreeSet<String> {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let of = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().keys();
            let named: Vec<String> = methods
                .map(|method| format!("{} {path}", method.to_uppercase()))
                .collect();
            named
        };
        paths.iter().flat_map(of).collect()
    }

    #[test]
    fn the_table_in_the_documentation_is_complete() {
        let text = include_str!("../../../docs/rest.md");
        let rows = text.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let (method, path) = (cells.next()?, cells.next()?);
            let path = path.strip_prefix('`')?.strip_suffix('`')?;
            Some(format!("{method} {path}"))
        });
        assert_eq!(rows.collect::<BTreeSet<String>>(), operations());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let names: BTreeSet<&str> = text
            .split("\"operationId\":\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(names.len() >= operations().len(), "{names:?}");
    }
}
