//! What commands printed: the one proof that an agent has seen the reference's code.

use super::bytes::Secret;
use super::decode;
use super::files::holds_elf;
use crate::record::blobs::Blobs;
use reenact_interop::trajectory::Message;
use reenact_model::integrity::IntegrityFinding;

/// What a message shows of the reference's code, if anything.
pub fn look(
    message: &Message,
    step: u64,
    secret: &Secret,
    blobs: &Blobs,
) -> Option<IntegrityFinding> {
    let kept = message.extra.raw_output_blob.as_ref().and_then(|blob| {
        // A blob that is gone: what the model was shown is still there.
        blobs.get(&blob.sha256).ok()
    });
    let kept = kept.or_else(|| message.extra.raw_output.clone().map(String::into_bytes));
    let bytes = kept.unwrap_or_else(|| message.text().into_owned().into_bytes());
    let written: Vec<Vec<u8>> = decode::views(&bytes);
    let views =
        std::iter::once((&bytes, "")).chain(written.iter().map(|v| (v, ", written out as text")));
    let (share, severity, how) = views
        .filter_map(|(view, how)| {
            let share = secret.share(view)?;
            Some((share, share.severity(holds_elf(view))?, how))
        })
        .min_by_key(|(_, severity, _)| *severity)?;
    Some(IntegrityFinding {
        rule: "output_shows_reference".to_owned(),
        severity,
        step: Some(step),
        path: None,
        offset: Some(share.offset()),
        evidence: format!("{share}{how}"),
        why: "a command printed runs of the reference's own machine code, which nothing in the cleanroom should hold"
            .to_owned(),
    })
}
