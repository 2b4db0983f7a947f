//! What commands printed: the one proof that an agent has seen the reference's code.

use super::bytes::{Secret, Share};
use super::decode;
use crate::record::blobs::Blobs;
use reenact_interop::trajectory::Message;
use reenact_model::integrity::{IntegrityFinding, Severity};

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
    let found = secret.share(&bytes).map(|s| (s, "")).or_else(|| {
        let views = decode::views(&bytes);
        views.iter().find_map(|v| secret.share(v)).map(|s| (s, ", written out as text"))
    });
    let (share, how) = found?;
    let (what, offset) = match share {
        Share::Whole { offset } => ("the whole reference".to_owned(), offset),
        Share::Code { shared, offset, .. } => {
            (format!("about {} KiB of the reference's machine code", shared.div_ceil(2)), offset)
        }
    };
    Some(IntegrityFinding {
        rule: "output_shows_reference".to_owned(),
        severity: Severity::Breach,
        step: Some(step),
        path: None,
        offset: Some(offset),
        evidence: format!("{what}{how}"),
        why: "a command printed runs of the reference's own machine code, which nothing in the cleanroom should hold"
            .to_owned(),
    })
}
