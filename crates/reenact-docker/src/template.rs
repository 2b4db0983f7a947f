//! `--format`: the part of Go's templates that scripts use: `{{.Field}}`, `{{.A.B}}`, `{{json .A}}`, `{{json .}}`, `\t`, `\n`.

use crate::error::DockerError;
use serde_json::Value;

/// Fills in a template. `json` alone is the whole value.
///
/// # Errors
/// [`DockerError::Usage`]: a form that is not understood, or a field that is not there.
pub fn fill(template: &str, value: &Value) -> Result<String, DockerError> {
    if template == "json" {
        return Ok(value.to_string());
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, next)) = after.split_once("}}") else {
            return Err(DockerError::Usage(format!("--format {template:?}: {{{{ without }}}}")));
        };
        out.push_str(&plain(before));
        out.push_str(&one(inside.trim(), value, template)?);
        rest = next;
    }
    out.push_str(&plain(rest));
    Ok(out)
}

fn plain(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn one(inside: &str, value: &Value, template: &str) -> Result<String, DockerError> {
    let (as_json, path) = match inside.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, inside),
    };
    let Some(fields) = path.strip_prefix('.') else {
        return Err(DockerError::Usage(format!(
            "--format {template:?}: {{{{{inside}}}}} is not understood; {{{{.Field}}}} and {{{{json .Field}}}} are"
        )));
    };
    let mut at = value;
    for field in fields.split('.').filter(|f| !f.is_empty()) {
        at = at.get(field).ok_or_else(|| {
            DockerError::Usage(format!("--format {template:?}: there is no field {field:?}"))
        })?;
    }
    Ok(match at {
        Value::String(text) if !as_json => text.clone(),
        Value::Null if !as_json => "<nil>".to_owned(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_json() {
        let v = serde_json::json!({"A": {"B": "x", "C": true}, "N": 3});
        assert_eq!(fill("{{.A.B}}\\t{{ .N }}!", &v).unwrap(), "x\t3!");
        assert_eq!(fill("{{json .A}}", &v).unwrap(), r#"{"B":"x","C":true}"#);
        assert_eq!(fill("json", &v).unwrap(), v.to_string());
        assert_eq!(fill("{{json .}}", &v).unwrap(), v.to_string());
        for bad in ["{{.A", "{{range .A}}", "{{.Nothing}}"] {
            assert!(fill(bad, &v).is_err(), "{bad}");
        }
    }
}
