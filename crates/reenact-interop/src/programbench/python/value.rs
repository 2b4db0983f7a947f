//! A JSON document that keeps what Python's `json` keeps: the order of keys, whole numbers of any common size, and the
//! difference between `1` and `1.0`.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// Python's are unbounded; these 128 bits are more than any file of ProgramBench's has used.
    Int(i128),
    Float(f64),
    Str(String),
    List(Vec<Value>),
    /// In order. A key that came twice has its last value at its first place, as in Python.
    Dict(Vec<(String, Value)>),
}

/// Why a text is not JSON that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct JsonError {
    /// Offset, from 0.
    pub at: usize,
    pub what: &'static str,
}

impl Value {
    /// The value of a key, if this is a dict that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dict(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// As [`Value::get`].
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match self {
            Self::Dict(entries) => entries.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// `dict[key] = value`; nothing, if this is no dict.
    pub fn set(&mut self, key: &str, value: Self) {
        if let Self::Dict(entries) = self {
            match entries.iter_mut().find(|(k, _)| k == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }

    /// `dict.pop(key, None)`.
    pub fn pop(&mut self, key: &str) -> Option<Self> {
        let Self::Dict(entries) = self else { return None };
        let at = entries.iter().position(|(k, _)| k == key)?;
        Some(entries.remove(at).1)
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one; booleans are, in Python.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Int(n) => Some(*n as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a dict.
    pub fn as_dict(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// `bool(value)`.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(x) => *x != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Dict(entries) => !entries.is_empty(),
        }
    }

    /// With the keys of every dict in order, by their characters' code points (`sort_keys=True`).
    pub fn sorted(mut self) -> Self {
        self.sort();
        self
    }

    fn sort(&mut self) {
        match self {
            Self::List(items) => items.iter_mut().for_each(Self::sort),
            Self::Dict(entries) => {
                // UTF-8 sorts as code points do.
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.iter_mut().for_each(|(_, v)| v.sort());
            }
            _ => {}
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}
