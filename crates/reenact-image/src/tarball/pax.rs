//! Records of PAX extended headers.

use super::Segment;
use reenact_sandbox::unpack::Time;

/// Most records of one header.
const MAX_RECORDS: usize = 4096;

/// What the records of one entry say; others are ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    gnu: Gnu,
}

/// GNU's records of sparse files.
#[derive(Clone, Debug, Default)]
struct Gnu {
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    name: Option<Vec<u8>>,
    map: Option<Vec<u8>>,
    /// The first version: alternating records.
    offset: Option<u64>,
    segments: Vec<Segment>,
}

/// Up to the first NUL.
pub(super) fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(at) = data.iter().position(|b| *b == 0) {
        data.truncate(at);
    }
    data
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(bytes).ok()?.parse().ok() } else { None }
}

/// `LENGTH KEY=VALUE\n`, again and again; the length counts itself.
pub(super) fn read(mut data: &[u8]) -> Result<Records, &'static str> {
    const BAD: &str = "its extended header is malformed";
    let mut records = Records::default();
    let mut count = 0;
    while !data.is_empty() {
        let space = data.iter().take(20).position(|b| *b == b' ').ok_or(BAD)?;
        let length = decimal(&data[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(BAD)?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err(BAD);
        }
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
        records.set(&record[..equals], &record[equals + 1..])?;
        data = &data[length..];
        count += 1;
        if count > MAX_RECORDS {
            return Err("its extended header has more than 4,096 records");
        }
    }
    if let Some(name) = records.gnu.name.take() {
        records.path = Some(name);
    }
    Ok(records)
}

impl Records {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "its extended header has a bad number";
        // An empty value takes a record back.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let number =
            || if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or(BAD) };
        match key {
            b"path" | b"linkpath" if value.contains(&0) => return Err("a name with a NUL byte"),
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => {
                self.mtime = if value.is_empty() { None } else { Some(time(value).ok_or(BAD)?) }
            }
            b"GNU.sparse.major" => self.gnu.major = number()?,
            b"GNU.sparse.minor" => self.gnu.minor = number()?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.gnu.size = number()?,
            b"GNU.sparse.name" => self.gnu.name = text(),
            b"GNU.sparse.map" => self.gnu.map = text(),
            b"GNU.sparse.offset" => self.gnu.offset = number()?,
            b"GNU.sparse.numbytes" => {
                let offset = self.gnu.offset.take().ok_or(BAD)?;
                let size = number()?.ok_or(BAD)?;
                self.gnu.segments.push(Segment { offset, size });
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                    && !name.is_empty()
                    && !name.contains(&0)
                {
                    self.xattrs.retain(|(n, _)| n != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// Size and map where the records have both (formats 0.0 and 0.1).
    pub(super) fn sparse_map(&self) -> Result<Option<(u64, Vec<Segment>)>, &'static str> {
        const BAD: &str = "a bad sparse map";
        if self.gnu.major.is_some_and(|n| n > 0) {
            return Ok(None);
        }
        let segments = match &self.gnu.map {
            Some(map) => {
                let numbers: Option<Vec<u64>> = map.split(|b| *b == b',').map(decimal).collect();
                let numbers = numbers.ok_or(BAD)?;
                if numbers.len() % 2 != 0 {
                    return Err(BAD);
                }
                numbers.chunks_exact(2).map(|n| Segment { offset: n[0], size: n[1] }).collect()
            }
            None if self.gnu.segments.is_empty() => return Ok(None),
            None => self.gnu.segments.clone(),
        };
        Ok(Some((self.gnu.size.ok_or(BAD)?, segments)))
    }

    /// The size where the map is at the beginning of the data (format 1.0).
    pub(super) fn sparse_in_data(&self) -> Result<Option<u64>, &'static str> {
        match (self.gnu.major, self.gnu.minor) {
            (None, _) | (Some(0), _) => Ok(None),
            (Some(1), None | Some(0)) => self.gnu.size.map(Some).ok_or("a bad sparse map"),
            _ => Err("a sparse file of an unknown format"),
        }
    }
}

/// `SECONDS[.FRACTION]`, perhaps negative.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    if negative && nanos > 0 {
        // -1.25 is a quarter of a second before -1.
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_in_order_and_later_ones_win() {
        let records =
            read(b"9 path=a\n9 path=b\n29 SCHILY.xattr.user.k=v=1\nx\n19 mtime=-1.250000\n")
                .unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"b"[..]));
        assert_eq!(records.xattrs, [(b"user.k".to_vec(), b"v=1\nx".to_vec())]);
        assert_eq!(records.mtime, Some((-2, 750_000_000)));
        assert_eq!(time(b"12.000000001"), Some((12, 1)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"9 path=a"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b"x path=a\n",
            b"5 abc\n",
            b"0 =\n",
            b"1 \n",
            b"10 size=-1\n",
            b"11 path=a\0b\n",
        ] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = read(&data);
        }

        #[test]
        fn what_is_written_is_read(path in proptest::collection::vec(1u8..=255, 1..300)) {
            let rest = 1 + b"path=".len() + path.len() + 1;
            let digits = (1..).find(|d| (rest + d).to_string().len() == *d).unwrap();
            let data = [format!("{} path=", rest + digits).as_bytes(), &path, b"\n"].concat();
            prop_assert_eq!(read(&data).unwrap().path, Some(path));
        }
    }
}
