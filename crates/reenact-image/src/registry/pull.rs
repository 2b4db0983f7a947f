//! An image from a registry into the store: several layers are downloaded at once, each is unpacked when it has come.

use super::blob::Downloaded;
use super::http::Patience;
use super::{Registry, Transport};
use crate::config;
use crate::digest::Digest;
use crate::error::{ImageError, RegistryError, shown};
use crate::layer::UnpackLimits;
use crate::manifest::{self, Blob, Manifest};
use crate::progress::Progress;
use crate::reference::{Reference, Version};
use crate::store::{Image, Store};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// How an image is to be got.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// `OS/ARCH`.
    pub platform: String,
    /// Speak to the registry without encryption. On this machine that is done anyway, unless the registry there wants it.
    pub insecure: bool,
    pub limits: UnpackLimits,
    /// Tries of a request without progress in between.
    pub tries: u32,
    /// The wait before the second try; each further one is twice as long.
    pub first_wait: Duration,
    /// Layers on their way at once.
    pub downloads: usize,
}

impl Default for PullOptions {
    fn default() -> Self {
        let patience = Patience::default();
        Self {
            platform: "linux/amd64".to_owned(),
            insecure: false,
            limits: UnpackLimits::default(),
            tries: patience.tries,
            first_wait: patience.first,
            downloads: 3,
        }
    }
}

/// Indexes within indexes.
const DEPTH: usize = 4;

/// One layer that is missing.
struct Job {
    blob: Blob,
    diff_id: Digest,
}

impl Store {
    /// Gets an image from its registry. What is in the store already is not downloaded; what an interrupted pull has left is
    /// used.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn pull(
        &self,
        reference: &str,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        let reference: Reference = reference.parse()?;
        let patience =
            Patience { tries: options.tries, first: options.first_wait, ..Patience::default() };
        let pull = |transport| {
            let registry = Registry::new(&reference, transport, patience, progress)?;
            self.pull_from(&registry, &reference, options, progress).map_err(|e| self.name_store(e))
        };
        let local = reenact_net::is_loopback(&reference.registry);
        if !local && !options.insecure {
            return pull(Transport::Encrypted);
        }
        match pull(Transport::Plain) {
            Err(ImageError::Registry(RegistryError::Encrypted { .. })) if !options.insecure => {
                pull(Transport::Encrypted)
            }
            done => done,
        }
    }

    fn pull_from(
        &self,
        registry: &Registry<'_>,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        let what = reference.to_string();
        let (config, layers) = find(registry, &reference.version, &options.platform, &what, DEPTH)?;
        let raw = registry.config(&config)?;
        let parsed = config::parse(&raw, &what)?;
        if parsed.diff_ids.len() != layers.len() {
            let (of_config, of_manifest) = (parsed.diff_ids.len(), layers.len());
            let why =
                format!("{of_config} layers in its configuration, {of_manifest} in its manifest");
            return Err(ImageError::Damaged { what, why });
        }
        let platform = format!("{}/{}", parsed.os, parsed.architecture);
        if !options.platform.starts_with(&platform) {
            let (platform, found) = (options.platform.clone(), shown(platform.as_bytes()));
            return Err(ImageError::Platform { what, platform, found });
        }
        let ids: Vec<String> = parsed.diff_ids.iter().map(Digest::to_string).collect();
        let _lease = self.lease(&ids)?;
        let mut seen = BTreeSet::new();
        let jobs: Vec<Job> = layers
            .into_iter()
            .zip(parsed.diff_ids)
            .filter(|(_, diff_id)| seen.insert(diff_id.clone()) && self.layer(diff_id).is_none())
            .map(|(blob, diff_id)| Job { blob, diff_id })
            .collect();
        self.fetch(registry, &jobs, ids.len(), options, progress)?;
        self.record_image(&raw, &[what])
    }

    /// Downloads and unpacks what is missing.
    fn fetch(
        &self,
        registry: &Registry<'_>,
        jobs: &[Job],
        layers: usize,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let mut there = (layers - jobs.len().min(layers)) as u64;
        progress.layer(there, layers as u64);
        let all: u64 = jobs.iter().map(|j| j.blob.size).sum();
        let queue = Queue {
            store: self,
            registry,
            jobs,
            next: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            all,
            progress,
        };
        let (sender, arrived) = channel();
        let sender = Mutex::new(sender);
        std::thread::scope(|scope| {
            for _ in 0..options.downloads.clamp(1, 8).min(jobs.len()) {
                let sender = sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let queue = &queue;
                scope.spawn(move || queue.work(&sender));
            }
            for _ in 0..jobs.len() {
                let Ok((n, result)) = arrived.recv() else { break };
                let job: &Job = &jobs[n];
                let unpacked = result.and_then(|blob: Downloaded| {
                    let what = format!("layer {}", job.blob.digest);
                    let input = &blob.file;
                    // The packed digest was checked as it came.
                    self.take_layer(
                        input,
                        None,
                        Some(&job.diff_id),
                        &options.limits,
                        &what,
                        progress,
                    )
                    .map(drop)
                });
                if let Err(error) = unpacked {
                    // The others stop; what they have got is kept. What has arrived lets go of its files, for which
                    // somebody may be waiting.
                    queue.over.store(true, Ordering::Relaxed);
                    drop(arrived);
                    return Err(error);
                }
                there += 1;
                progress.layer(there, layers as u64);
            }
            Ok(())
        })
    }
}

struct Queue<'a> {
    store: &'a Store,
    registry: &'a Registry<'a>,
    jobs: &'a [Job],
    next: AtomicUsize,
    over: AtomicBool,
    bytes: AtomicU64,
    all: u64,
    progress: &'a dyn Progress,
}

impl Queue<'_> {
    fn work(&self, sender: &Sender<(usize, Result<Downloaded, ImageError>)>) {
        while !self.over.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(n) else { break };
            let told = |more: u64| {
                // A download that starts again takes its bytes back (it wraps around).
                let done = self.bytes.fetch_add(more, Ordering::Relaxed).wrapping_add(more);
                self.progress.bytes(done, self.all);
                !self.over.load(Ordering::Relaxed)
            };
            let result = self.registry.blob(self.store, &job.blob, &told);
            if sender.send((n, result)).is_err() {
                break;
            }
        }
    }
}

/// Configuration and layers, through an index where there is one.
fn find(
    registry: &Registry<'_>,
    version: &Version,
    platform: &str,
    what: &str,
    depth: usize,
) -> Result<(Blob, Vec<Blob>), ImageError> {
    let bytes = registry.manifest(version)?;
    match manifest::parse(&bytes, what)? {
        Manifest::Image { config, layers } => Ok((config, layers)),
        Manifest::Index(list) if depth > 0 => {
            let chosen = manifest::choose(&list, platform, what)?;
            let version = Version::Digest(chosen.blob.digest.clone());
            find(registry, &version, platform, what, depth - 1)
        }
        Manifest::Index(_) => Err(ImageError::Damaged {
            what: what.to_owned(),
            why: "indexes within indexes within indexes".to_owned(),
        }),
    }
}
