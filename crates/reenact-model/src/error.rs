//! One error type for every format: which file, which line, which field, and what is wrong there.

use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};

/// A malformed file. `line` counts from 1 and `field` is a path such as `steps[0].expect.stdout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Line in the file, where the format has lines.
    pub line: Option<usize>,
    /// Path of the offending field, where one is known.
    pub field: Option<String>,
    /// What is wrong, as a lower-case fragment.
    pub what: String,
}

impl FormatError {
    /// An error about the file as a whole.
    pub fn file(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), line: None, field: None, what: what.into() }
    }

    /// An error about one field on one line.
    pub fn field(
        file: &Path,
        line: Option<usize>,
        field: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self { file: file.to_path_buf(), line, field: Some(field.into()), what: what.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ", field `{field}`")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for FormatError {}

fn field_of(path: &serde_path_to_error::Path) -> Option<String> {
    let text = path.to_string();
    (text != ".").then_some(text)
}

/// Parses one JSON value that stands on line `line` of `file`.
///
/// # Errors
/// [`FormatError`] with the path of the field that does not fit.
pub fn parse_json<T: DeserializeOwned>(
    file: &Path,
    line: Option<usize>,
    text: &str,
) -> Result<T, FormatError> {
    let mut de = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut de).map_err(|e| {
        let inner = e.inner();
        let line = line.or_else(|| (inner.line() > 0).then(|| inner.line()));
        FormatError {
            file: file.to_path_buf(),
            line,
            field: field_of(e.path()),
            what: strip_position(&inner.to_string()),
        }
    })?;
    de.end().map_err(|e| FormatError {
        file: file.to_path_buf(),
        line,
        field: None,
        what: strip_position(&e.to_string()),
    })?;
    Ok(value)
}

/// Parses a TOML document.
///
/// # Errors
/// [`FormatError`] with line and field.
pub fn parse_toml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, FormatError> {
    let line_at =
        |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
    let fail = |span: Option<std::ops::Range<usize>>, field, what: &str| FormatError {
        file: file.to_path_buf(),
        line: span.map(|s| line_at(s.start)),
        field,
        what: what.trim().to_owned(),
    };
    let de = toml::Deserializer::parse(text).map_err(|e| fail(e.span(), None, e.message()))?;
    serde_path_to_error::deserialize(de).map_err(|e| {
        let field = field_of(e.path());
        fail(e.inner().span(), field, e.inner().message())
    })
}

/// serde_json appends " at line 1 column 7"; the line is ours to give, since each line is a document of its own.
fn strip_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}
