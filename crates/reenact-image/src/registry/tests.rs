use super::*;
use crate::progress::Silent;
use crate::store::Store;
use crate::testing::{Made, tar_of};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// One request, as the server sees it.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
}

/// What it answers.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Breaks off after this many bytes of the body.
    cut: Option<usize>,
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: Vec::new(), body: body.into(), cut: None }
}

impl Answer {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Handler = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

/// A registry on a free port of loopback; the handler gets each request and how often its path was asked for before.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(handler: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, end) = (Arc::clone(&asked), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                std::thread::spawn(move || serve(stream, &log, &*handler));
            }
        });
        Self { port, asked, over, thread: Some(thread) }
    }

    fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One request a connection.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, handler: &Handler) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines
        .map_while(Result::ok)
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned())))
        .collect();
    let asked = Asked { path, headers };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|a| a.path == asked.path).count();
        log.push(asked.clone());
        before
    };
    let given = handler(&asked, before);
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", given.status);
    head.push_str(&format!("content-length: {}\r\n", given.body.len()));
    for (name, value) in &given.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let end = given.cut.unwrap_or(given.body.len());
    // A client that has gone away is its own business.
    stream.write_all(head.as_bytes()).ok();
    stream.write_all(b"\r\n").ok();
    stream.write_all(&given.body[..end]).ok();
    stream.shutdown(Shutdown::Both).ok();
}

/// An image of two layers, and the documents of its registry by path.
struct Sample {
    files: BTreeMap<String, Vec<u8>>,
    layers: Vec<Digest>,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn sample() -> Sample {
    let noise: Vec<u8> =
        (0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tars = [
        tar_of(&[Made::dir("d"), Made::file("d/big", &noise)]),
        tar_of(&[Made::file("d/small", b"text"), Made::file("d/.wh.gone", b"")]),
    ];
    let blobs = [gzip(&tars[0]), zstd::encode_all(tars[1].as_slice(), 3).unwrap()];
    let ids: Vec<String> = tars.iter().map(|t| format!("\"{}\"", Digest::of(t))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let descriptor = |bytes: &[u8]| {
        format!(r#"{{"mediaType":"m","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
        descriptor(config.as_bytes()),
        descriptor(&blobs[0]),
        descriptor(&blobs[1])
    );
    let platform = |os: &str, arch: &str, digest: &Digest, size: usize| {
        format!(
            r#"{{"digest":"{digest}","size":{size},"platform":{{"os":"{os}","architecture":"{arch}"}}}}"#
        )
    };
    let of_manifest = Digest::of(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        platform("linux", "arm64", &Digest::of(b"other"), 5),
        platform("linux", "amd64", &of_manifest, manifest.len())
    );
    let mut files = BTreeMap::new();
    files.insert("/v2/org/x/manifests/v1".to_owned(), index.into_bytes());
    files.insert(format!("/v2/org/x/manifests/{of_manifest}"), manifest.into_bytes());
    files.insert(format!("/v2/org/x/blobs/{}", Digest::of(config.as_bytes())), config.into_bytes());
    let layers: Vec<Digest> = blobs.iter().map(|b| Digest::of(b)).collect();
    for (digest, blob) in layers.iter().zip(blobs) {
        files.insert(format!("/v2/org/x/blobs/{digest}"), blob);
    }
    Sample { files, layers }
}

impl Sample {
    fn answer(&self, path: &str) -> Answer {
        match self.files.get(path) {
            Some(bytes) => answer(200, bytes.clone()),
            None => answer(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#),
        }
    }

    fn blob_path(&self, n: usize) -> String {
        format!("/v2/org/x/blobs/{}", self.layers[n])
    }
}

fn options() -> PullOptions {
    PullOptions { tries: 4, first_wait: Duration::from_millis(1), ..PullOptions::default() }
}

fn pull(server: &Server, store: &Store) -> Result<crate::Image, ImageError> {
    store.pull(&server.name("org/x:v1"), &options(), &Silent)
}

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("store")).unwrap()
}

fn assert_whole(store: &Store, image: &crate::Image) {
    let roots = store.roots(image).unwrap();
    assert_eq!(std::fs::metadata(roots[1].join("d/big")).unwrap().len(), 400_000);
    assert_eq!(std::fs::read(roots[0].join("d/small")).unwrap(), b"text");
    assert_eq!(image.config.env, ["A=b"]);
    let left = std::fs::read_dir(store.root().join("blobs")).unwrap().count();
    assert_eq!(left, 0, "compressed layers are not kept");
}

#[test]
fn an_index_leads_to_layers_of_either_compression() {
    let sample = sample();
    let server = Server::start(move |asked, _| sample.answer(&asked.path));
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let image = pull(&server, &store).unwrap();
    assert_whole(&store, &image);
    assert_eq!(image.names, [server.name("org/x:v1")]);
    // What is there is not asked for again.
    let before = server.asked().len();
    pull(&server, &store).unwrap();
    let again: Vec<String> = server.asked()[before..].iter().map(|a| a.path.clone()).collect();
    assert_eq!(again.len(), 3, "{again:?}");
    // By digest, which is checked.
    let digest = again[1].rsplit('/').next().unwrap();
    assert!(store.pull(&server.name(&format!("org/x@{digest}")), &options(), &Silent).is_ok());
    let wanted = PullOptions { platform: "linux/s390x".to_owned(), ..options() };
    let error = store.pull(&server.name("org/x:v1"), &wanted, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error}");
    assert!(server.asked()[0].headers["accept"].contains("manifest.list.v2"));
}

#[test]
fn a_token_is_fetched_once_and_used() {
    let sample = sample();
    let server = Server::start(move |asked, _| {
        if asked.path.starts_with("/token") {
            return answer(200, r#"{"token":"abc","expires_in":60}"#);
        }
        if asked.headers.get("authorization").map(String::as_str) != Some("Bearer abc") {
            let host = &asked.headers["host"];
            let challenge = format!(
                r#"Bearer realm="http://{host}/token",service="s x",scope="repository:org/x:pull""#
            );
            return answer(401, "").header("WWW-Authenticate", &challenge);
        }
        sample.answer(&asked.path)
    });
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let image = pull(&server, &store).unwrap();
    assert_whole(&store, &image);
    let tokens: Vec<Asked> =
        server.asked().into_iter().filter(|a| a.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?scope=repository%3Aorg%2Fx%3Apull&service=s%20x");
    assert!(!tokens[0].headers.contains_key("authorization"), "nobody has given an account");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let sample = Arc::new(sample());
    let big = sample.blob_path(0);
    let shared = Arc::clone(&sample);
    let path = big.clone();
    let server = Server::start(move |asked, before| {
        let mut given = shared.answer(&asked.path);
        if asked.path == path {
            if let Some(range) = asked.headers.get("range") {
                let from: usize =
                    range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
                let all = given.body.len();
                given = answer(206, &given.body[from..])
                    .header("content-range", &format!("bytes {from}-{}/{all}", all - 1));
            }
            // Three resets, and each brings a part.
            if before < 3 {
                given.cut = Some(50_000);
            }
        }
        given
    });
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let image = pull(&server, &store).unwrap();
    assert_whole(&store, &image);
    let asked: Vec<Asked> = server.asked().into_iter().filter(|a| a.path == big).collect();
    assert_eq!(asked.len(), 4);
    // What arrives of a broken connection depends on the kernel; that it goes on does not.
    assert!(asked[1..].iter().all(|a| a.headers.contains_key("range")), "{asked:?}");
}

#[test]
fn a_pull_that_gave_up_is_taken_up_by_the_next() {
    let sample = Arc::new(sample());
    let big = sample.blob_path(0);
    let broken = Arc::new(AtomicBool::new(true));
    let (shared, path, down) = (Arc::clone(&sample), big.clone(), Arc::clone(&broken));
    // A registry that knows no ranges: each try begins anew.
    let server = Server::start(move |asked, _| {
        let mut given = shared.answer(&asked.path);
        if asked.path == path && down.load(Ordering::SeqCst) {
            given.cut = Some(1000);
        }
        given
    });
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let error = pull(&server, &store).unwrap_err();
    assert!(
        matches!(error, ImageError::Registry(RegistryError::Unreachable { tries: 4, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("what was downloaded is kept"), "{error}");
    assert!(store.list().unwrap().is_empty());
    broken.store(false, Ordering::SeqCst);
    let image = pull(&server, &store).unwrap();
    assert_whole(&store, &image);
}

#[test]
fn refusals_are_typed_and_say_what_to_do() {
    type Check = fn(&RegistryError) -> bool;
    let cases: [(u16, Check, &str, usize); 5] = [
        (401, |e| matches!(e, RegistryError::Unauthorized { .. }), "REENACT_REGISTRY_AUTH", 1),
        (403, |e| matches!(e, RegistryError::Forbidden { .. }), "403", 1),
        (404, |e| matches!(e, RegistryError::Missing { .. }), "check name and tag", 1),
        (429, |e| matches!(e, RegistryError::RateLimited { tries: 4, .. }), "429", 4),
        (503, |e| matches!(e, RegistryError::Failing { status: 503, .. }), "down for today", 4),
    ];
    for (status, check, text, requests) in cases {
        let body = r#"{"errors":[{"message":"down for \u001btoday"}]}"#;
        let body = if status == 503 { body.replace("\\u001b", "") } else { body.to_owned() };
        let server = Server::start(move |_, _| {
            answer(status, body.clone())
                .header("Retry-After", "0")
                .header("WWW-Authenticate", "Basic realm=\"x\"")
        });
        let dir = tempfile::tempdir().unwrap();
        let error = pull(&server, &store(&dir)).unwrap_err();
        let ImageError::Registry(typed) = &error else { panic!("{error:?}") };
        assert!(check(typed), "{status}: {typed:?}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains('\u{1b}'));
        assert_eq!(server.asked().len(), requests, "{status}");
    }
}

#[test]
fn overload_that_passes_is_waited_out() {
    let sample = sample();
    let server = Server::start(move |asked, before| match before {
        0 => answer(429, "").header("Retry-After", "0"),
        1 => answer(500, ""),
        _ => sample.answer(&asked.path),
    });
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let image = pull(&server, &store).unwrap();
    assert_whole(&store, &image);
}

#[test]
fn nobody_listening_is_told() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let error = store(&dir).pull(&format!("127.0.0.1:{port}/x"), &options(), &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Registry(RegistryError::Nobody { .. })), "{error:?}");
}

#[test]
fn wrong_digests_and_lengths_are_never_used() {
    let sample = Arc::new(sample());
    let manifest = sample.files.keys().find(|k| k.contains("manifests/sha256")).unwrap().clone();
    let config = sample
        .files
        .keys()
        .find(|k| k.contains("blobs") && !sample.layers.iter().any(|l| k.contains(l.as_str())))
        .unwrap()
        .clone();
    for (path, change) in [
        (sample.blob_path(0), "flip"),
        (sample.blob_path(1), "flip"),
        (sample.blob_path(0), "longer"),
        (sample.blob_path(1), "shorter"),
        (manifest, "flip"),
        (config, "flip"),
    ] {
        let (shared, wanted) = (Arc::clone(&sample), path.clone());
        let server = Server::start(move |asked, _| {
            let mut given = shared.answer(&asked.path);
            if asked.path == wanted {
                match change {
                    "flip" => {
                        let middle = given.body.len() / 2;
                        given.body[middle] ^= 1;
                    }
                    "longer" => given.body.extend_from_slice(&[0; 9000]),
                    _ => given.body.truncate(given.body.len() - 1),
                }
            }
            given
        });
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let error = pull(&server, &store).unwrap_err();
        match change {
            "flip" => assert!(matches!(error, ImageError::Digest { .. }), "{path}: {error:?}"),
            "longer" => assert!(error.to_string().contains("more than the"), "{error}"),
            _ => assert!(error.to_string().contains("bytes came"), "{error}"),
        }
        assert!(store.list().unwrap().is_empty());
        // The other layer may have come whole; this one is not there.
        let layers = std::fs::read_dir(store.root().join("layers")).unwrap().count();
        assert!(layers <= 1);
    }
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let mut sample = sample();
    // The registry's own digests agree, the configuration's do not: layers swapped.
    let path = sample.files.keys().find(|k| k.contains("manifests/sha256")).unwrap().clone();
    let text = String::from_utf8(sample.files[&path].clone()).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["layers"].as_array_mut().unwrap().swap(0, 1);
    sample.files.insert("/v2/org/x/manifests/v1".to_owned(), json.to_string().into_bytes());
    let server = Server::start(move |asked, _| sample.answer(&asked.path));
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let error = pull(&server, &store).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(store.root().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_token_server_in_the_clear_is_for_registries_in_the_clear() {
    let reference: Reference = "registry.example/x".parse().unwrap();
    let registry =
        |transport| Registry::new(&reference, transport, Patience::default(), &Silent).unwrap();
    let encrypted = registry(Transport::Encrypted);
    assert!(encrypted.base.starts_with("https://"));
    let refused = encrypted.token("http://elsewhere.example/token", None, "s", "x");
    assert!(matches!(refused, Err(http::Failure::Final(_))));
    assert!(registry(Transport::Plain).base.starts_with("http://"));
}
