//! Images in files: what `docker save` and `podman save` write, OCI layouts (a directory, or an archive of one), and plain root
//! file systems (an archive, or a directory).

mod docker;
mod indexed;
mod oci;
mod source;

use crate::config::{self, ImageConfig};
use crate::digest::Digest;
use crate::error::{ImageError, io_error};
use crate::layer::{UnpackLimits, unpack_layer};
use crate::progress::Progress;
use crate::store::{Image, Store};
use crate::{Reference, layer};
use source::{Opened, Source};
use std::path::Path;

/// Largest manifest, index or configuration that is read.
pub(crate) const MAX_JSON: u64 = 8 << 20;

/// How an archive is to be read.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The image's name; else those that the archive gives. A plain root file system has none.
    pub name: Option<String>,
    /// `OS/ARCH`, of an archive with several.
    pub platform: String,
    pub limits: UnpackLimits,
    /// For a plain root file system.
    pub config: ImageConfig,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            platform: "linux/amd64".to_owned(),
            limits: UnpackLimits::default(),
            config: ImageConfig::default(),
        }
    }
}

/// An image of an archive.
pub(crate) struct Found {
    /// As the archive has them.
    pub names: Vec<String>,
    /// Member or file, and digest where one was promised.
    pub config: Member,
    /// Lowest first.
    pub layers: Vec<Member>,
}

/// A file of the archive.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub name: String,
    pub digest: Option<Digest>,
}

impl Store {
    /// Takes all images of an archive or directory into the store.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>, ImageError> {
        self.import_any(path, options, progress).map_err(|e| self.name_store(e))
    }

    fn import_any(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>, ImageError> {
        let rename = options.name.as_deref().map(str::parse::<Reference>).transpose()?;
        let source = match Source::open(path, self)? {
            Opened::Images(source) => source,
            Opened::RootDir => {
                let name = required_name(path, rename)?;
                return Ok(vec![self.import_root(path, &name, &options.config)?]);
            }
            Opened::RootTar(file) => {
                let name = required_name(path, rename)?;
                return self.import_tar(path, file, &name, options, progress).map(|i| vec![i]);
            }
        };
        let found = match &source.kind {
            source::Kind::Docker => docker::images(&source)?,
            source::Kind::Oci => oci::images(&source, &options.platform)?,
        };
        if rename.is_some() && found.len() > 1 {
            let why = format!("it holds {} images, and one name was given", found.len());
            return Err(ImageError::Archive { path: path.to_path_buf(), why });
        }
        let mut images = Vec::new();
        for found in found {
            let names = match &rename {
                Some(name) => vec![name.to_string()],
                None => usable_names(&found.names, progress),
            };
            images.push(self.import_one(&source, &found, &names, options, progress)?);
        }
        Ok(images)
    }

    fn import_one(
        &self,
        source: &Source,
        found: &Found,
        names: &[String],
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        let raw = source.read(&found.config.name)?;
        if let Some(digest) = &found.config.digest {
            digest.check(&raw, &format!("{}: {}", source.path.display(), found.config.name))?;
        }
        let what = source.path.display().to_string();
        let parsed = config::parse(&raw, &what)?;
        if parsed.diff_ids.len() != found.layers.len() {
            let (of_config, of_manifest) = (parsed.diff_ids.len(), found.layers.len());
            let why =
                format!("{of_config} layers in its configuration, {of_manifest} in its manifest");
            return Err(ImageError::Damaged { what, why });
        }
        let ids: Vec<String> = parsed.diff_ids.iter().map(Digest::to_string).collect();
        let _lease = self.lease(&ids)?;
        for (n, (member, diff_id)) in found.layers.iter().zip(&parsed.diff_ids).enumerate() {
            progress.layer(n as u64, ids.len() as u64);
            if self.layer(diff_id).is_some() {
                continue;
            }
            let what = format!("{what}: {}", crate::error::shown(member.name.as_bytes()));
            let input = source.open_member(&member.name)?;
            let packed = member.digest.as_ref();
            self.take_layer(input, packed, Some(diff_id), &options.limits, &what, progress)?;
        }
        progress.layer(ids.len() as u64, ids.len() as u64);
        self.record_image(&raw, names)
    }

    fn import_tar(
        &self,
        path: &Path,
        file: std::fs::File,
        name: &str,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        progress.layer(0, 1);
        let what = path.display().to_string();
        let (diff_id, _lease) =
            self.take_layer(file, None, None, &options.limits, &what, progress)?;
        progress.layer(1, 1);
        let layers = [diff_id.to_string()];
        let created = jiff::Timestamp::now().to_string();
        self.record_image(&config::render(&options.config, &layers, &created), &[name.to_owned()])
    }

    /// Unpacks a layer into the store. Its digests are checked where they are known, before anybody can see it. It is leased
    /// until the second value is dropped.
    pub(crate) fn take_layer<R: std::io::Read + Send>(
        &self,
        input: R,
        packed: Option<&Digest>,
        diff_id: Option<&Digest>,
        limits: &UnpackLimits,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(Digest, impl Sized + use<R>), ImageError> {
        let stage = self.stage()?;
        let root = stage.path().join("root");
        let unpacked = unpack_layer(input, &root, limits, what, packed.is_some())?;
        if let Some(expected) = packed {
            expected.check_against(&unpacked.packed, what)?;
        }
        if let Some(expected) = diff_id {
            expected.check_against(&unpacked.diff_id, what)?;
        }
        if unpacked.archive_bytes == 0 {
            let why = "it is empty".to_owned();
            return Err(ImageError::Damaged { what: what.to_owned(), why });
        }
        for line in unpacked.notes.lines() {
            progress.note(&line);
        }
        let record = crate::store::LayerRecord {
            diff_id: unpacked.diff_id.to_string(),
            entries: unpacked.entries,
            bytes: unpacked.bytes,
            notes: unpacked.notes,
        };
        let lease = self.lease(std::slice::from_ref(&record.diff_id))?;
        let changing = self.change()?;
        self.adopt(stage, &record, &changing)?;
        Ok((unpacked.diff_id, lease))
    }
}

fn required_name(path: &Path, name: Option<Reference>) -> Result<String, ImageError> {
    name.map(|n| n.to_string()).ok_or_else(|| ImageError::Archive {
        path: path.to_path_buf(),
        why: "a plain root file system has no name of its own: give one with --name".to_owned(),
    })
}

/// Names of an archive that can be normalised; others are told of.
fn usable_names(names: &[String], progress: &dyn Progress) -> Vec<String> {
    let mut usable = Vec::new();
    for name in names {
        match name.parse::<Reference>() {
            Ok(reference) => usable.push(reference.to_string()),
            Err(error) => progress.note(&error.to_string()),
        }
    }
    usable.sort();
    usable.dedup();
    if usable.is_empty() {
        progress.note("the archive gives the image no name: --name does");
    }
    usable
}

/// Reads what is small to its end.
pub(crate) fn read_small(mut from: impl std::io::Read, what: &str) -> Result<Vec<u8>, ImageError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    from.by_ref().take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(io_error(what))?;
    if bytes.len() as u64 > MAX_JSON {
        let why = format!("more than {MAX_JSON} bytes");
        return Err(layer_too_large(what, why));
    }
    Ok(bytes)
}

fn layer_too_large(what: &str, why: String) -> ImageError {
    ImageError::TooLarge { layer: what.to_owned(), why }
}

pub(crate) use layer::stream_error;

#[cfg(test)]
mod tests;
