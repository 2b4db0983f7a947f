//! `reenact image`: images without a daemon.

use super::Done;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::Ui;
use clap::{Args, Subcommand};
use reenact_bundle::Progress as _;
use reenact_image::{
    GcOptions, Image as Stored, ImportOptions, Progress, PullOptions, Reference, Store,
};
use reenact_model::ExitCode;
use reenact_report::visible;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Mutex;

#[derive(Args, Debug)]
pub struct Image {
    /// The store: a directory, by default below ~/.local/share (not on an overlay file system)
    #[arg(long, global = true, value_name = "DIR", env = "REENACT_IMAGES")]
    store: Option<PathBuf>,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Get an image from its registry; what an interrupted pull has left is used
    Pull {
        /// `debian:12`, `ghcr.io/org/name:tag`, `localhost:5000/name@sha256:…`
        #[arg(value_name = "REF")]
        name: String,
        /// Which one of an image for several platforms
        #[arg(long, default_value = "linux/amd64", value_name = "OS/ARCH")]
        platform: String,
        /// Speak plain HTTP to the registry (on this machine that is done anyway)
        #[arg(long)]
        insecure: bool,
        /// Keep the store below this size by removing images that were not used for longest
        #[arg(long, value_name = "SIZE", env = "REENACT_IMAGES_LIMIT", value_parser = size)]
        limit: Option<u64>,
    },
    /// Take the images of a file or directory: `docker save`, `podman save`, an OCI layout, or a root file system
    Import {
        /// An archive (gzip, zstd or plain), or a directory
        from: PathBuf,
        /// Name of the image; a root file system needs one
        #[arg(long, value_name = "REF")]
        name: Option<String>,
        /// Which one of an image for several platforms
        #[arg(long, default_value = "linux/amd64", value_name = "OS/ARCH")]
        platform: String,
        /// Keep the store below this size by removing images that were not used for longest
        #[arg(long, value_name = "SIZE", env = "REENACT_IMAGES_LIMIT", value_parser = size)]
        limit: Option<u64>,
    },
    /// Show the images of the store
    List,
    /// Take names from images; an image without names is removed
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "REF")]
        names: Vec<String>,
    },
    /// Remove what nobody uses: layers without an image, what containers left, broken-off downloads
    Gc {
        /// Remove images too, least recently used first, until the store is below this size (20G, 500M)
        #[arg(long, value_name = "SIZE", env = "REENACT_IMAGES_LIMIT", value_parser = size)]
        limit: Option<u64>,
    },
    /// Show an image's configuration and layers
    Inspect {
        /// Name or id
        #[arg(value_name = "REF")]
        name: String,
    },
}

/// `500M`, `20G`, `20GiB`, or bytes.
fn size(text: &str) -> Result<u64, String> {
    let bad = || "expected a size, such as 500M or 20G".to_owned();
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| bad())?;
    let shift = match text[end..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(bad()),
    };
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// The store that commands use when they are not told of another.
pub fn store(dir: Option<&PathBuf>) -> Result<Store, CommandError> {
    let dir = dir.cloned().or_else(Store::default_root).ok_or_else(|| {
        CommandError::usage("no directory for images: there is no home directory")
            .hint("REENACT_IMAGES or --store names one")
    })?;
    Ok(Store::open(&dir)?)
}

pub fn image(args: &Image, context: &Context) -> Done {
    let store = store(args.store.as_ref())?;
    match &args.command {
        Action::Pull { name, platform, insecure, limit } => {
            let options = PullOptions {
                platform: platform.clone(),
                insecure: *insecure,
                ..PullOptions::default()
            };
            let shown = Shown::new(context, name);
            let images = [store.pull(name, &options, &shown)?];
            drop(shown);
            make_room(&store, *limit, &images, context)?;
            got(&images, Some(name), context)
        }
        Action::Import { from, name, platform, limit } => {
            let options = ImportOptions {
                name: name.clone(),
                platform: platform.clone(),
                ..ImportOptions::default()
            };
            let shown = Shown::new(context, &from.display().to_string());
            let images = store.import(from, &options, &shown)?;
            drop(shown);
            make_room(&store, *limit, &images, context)?;
            got(&images, name.as_deref(), context)
        }
        Action::List => list(&store, context),
        Action::Rm { names } => {
            for name in names {
                store.remove(name)?;
            }
            Ok(ExitCode::Done)
        }
        Action::Gc { limit } => gc(&store, *limit, context),
        Action::Inspect { name } => inspect(&store, name, context),
    }
}

/// What came into the store, by the name that was asked for, or else its first one.
fn got(images: &[Stored], asked: Option<&str>, context: &Context) -> Done {
    if context.json {
        context.print_json(&images.iter().map(as_json).collect::<Vec<_>>());
        return Ok(ExitCode::Done);
    }
    let asked = asked.and_then(|name| Some(name.parse::<Reference>().ok()?.to_string()));
    for image in images {
        let name = asked.as_ref().or(image.names.first()).unwrap_or(&image.id);
        let layers = image.layers.len();
        context.say(&format!("{name}: {layers} layers, {}", human(image.size)));
        context.out(name);
    }
    Ok(ExitCode::Done)
}

fn make_room(
    store: &Store,
    limit: Option<u64>,
    images: &[Stored],
    context: &Context,
) -> Result<(), CommandError> {
    let (Some(limit), Some(image)) = (limit, images.last()) else { return Ok(()) };
    for gone in store.keep_below(limit, image)? {
        context.say(&format!("note: {gone} was removed to keep the store below its limit"));
    }
    Ok(())
}

fn as_json(image: &Stored) -> Value {
    json!({
        "id": image.id,
        "names": image.names,
        "layers": image.layers,
        "size": image.size,
        "created": image.created,
        "config": image.config,
    })
}

/// Names that people write: the default registry is left out.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit < UNITS.len() - 1 {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

fn list(store: &Store, context: &Context) -> Done {
    let images = store.list()?;
    if context.json {
        context.print_json(&images.iter().map(as_json).collect::<Vec<_>>());
        return Ok(ExitCode::Done);
    }
    if images.is_empty() {
        context.say("no images: `reenact image pull REF` or `reenact image import FILE` gets one");
        return Ok(ExitCode::Done);
    }
    let rows: Vec<[String; 4]> = images
        .iter()
        .flat_map(|image| {
            let names = match image.names.as_slice() {
                [] => vec!["<none>".to_owned()],
                names => names.iter().map(|n| short(n).to_owned()).collect(),
            };
            let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
            let created =
                image.created.as_deref().unwrap_or("-").chars().take(10).collect::<String>();
            names.into_iter().map(move |n| [n, id.clone(), created.clone(), human(image.size)])
        })
        .collect();
    let width = rows.iter().map(|r| r[0].chars().count()).max().unwrap_or(0).max(4);
    if !context.quiet {
        context.out(&format!("{:width$}  {:12}  {:10}  size", "name", "id", "created"));
    }
    for [name, id, created, size] in &rows {
        context.out(&format!("{name:width$}  {id:12}  {created:10}  {size}"));
    }
    Ok(ExitCode::Done)
}

fn gc(store: &Store, limit: Option<u64>, context: &Context) -> Done {
    let gc = store.gc(&GcOptions { limit, downloads: false })?;
    if context.json {
        context.print_json(&gc);
        return Ok(ExitCode::Done);
    }
    for name in &gc.images {
        context.out(&format!("removed {name}"));
    }
    context.say(&format!(
        "{} layers ({}) and {} writable layers removed; {} are left",
        gc.layers,
        human(gc.bytes),
        gc.scratch,
        human(gc.left)
    ));
    Ok(ExitCode::Done)
}

fn inspect(store: &Store, name: &str, context: &Context) -> Done {
    let image = store.get(name)?;
    if context.json {
        context.print_json(&as_json(&image));
        return Ok(ExitCode::Done);
    }
    let text = |t: &str| visible::text(t.as_bytes());
    let words = |list: &Option<Vec<String>>| match list {
        Some(list) => text(&list.join(" ")),
        None => "-".to_owned(),
    };
    let line = |key: &str, value: &str| context.out(&format!("{key:12} {value}"));
    line("id", &image.id);
    for name in &image.names {
        line("name", name);
    }
    line("created", &text(image.created.as_deref().unwrap_or("-")));
    line("size", &human(image.size));
    line("entrypoint", &words(&image.config.entrypoint));
    line("command", &words(&image.config.cmd));
    line("user", &text(if image.config.user.is_empty() { "-" } else { &image.config.user }));
    line(
        "directory",
        &text(if image.config.working_dir.is_empty() { "-" } else { &image.config.working_dir }),
    );
    for variable in &image.config.env {
        line("env", &text(variable));
    }
    for (key, value) in &image.config.labels {
        line("label", &text(&format!("{key}={value}")));
    }
    for (layer, root) in image.layers.iter().rev().zip(store.roots(&image)?) {
        line("layer", &format!("{layer} {}", root.display()));
    }
    Ok(ExitCode::Done)
}

/// Progress of a pull or an import, told from several threads.
struct Shown<'a> {
    ui: Mutex<Ui<'a>>,
}

impl<'a> Shown<'a> {
    fn new(context: &'a Context, what: &str) -> Self {
        let ui = Ui::new(context);
        ui.stage(what);
        Self { ui: Mutex::new(ui) }
    }

    fn with(&self, f: impl FnOnce(&Ui<'a>)) {
        f(&self.ui.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Progress for Shown<'_> {
    fn note(&self, text: &str) {
        self.with(|ui| ui.note(&visible::text(text.as_bytes())));
    }

    fn bytes(&self, done: u64, all: u64) {
        // In KiB, so that the bar's numbers can be read.
        self.with(|ui| ui.tick(done >> 10, all >> 10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("500"), Ok(500));
        assert_eq!(size("2k"), Ok(2048));
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for bad in ["", "G", "-1", "1x", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(12), "12 B");
    }
}
