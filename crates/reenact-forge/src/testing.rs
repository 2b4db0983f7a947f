//! Bundles for unit tests.

use reenact_bundle::TaskBundle;
use reenact_model::Digest;
use std::path::Path;

/// Writes a minimal bundle around `reference` at `root`.
pub(crate) fn bundle(root: &Path, reference: &[u8]) -> TaskBundle {
    for dir in ["docs", "sealed"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("docs/README"), "Tiny does nothing, and does it well.\n").unwrap();
    std::fs::write(root.join("sealed/reference"), reference).unwrap();
    let digest = Digest::of(reference);
    let toml = format!(
        "schema = 1\n[task]\nid = \"path__tiny.1\"\ntitle = \"tiny\"\nsplit = \"public\"\ncreated = \"2026-01-01T00:00:00Z\"\n\
         [source]\nkind = \"path\"\nname = \"tiny\"\nversion = \"1\"\nsha256 = \"{digest}\"\nlicence = \"unknown\"\n\
         [reference]\nsha256 = \"{digest}\"\nsize = {}\nstatic = true\nseal = \"sealed\"\n\
         [platform]\nos = \"linux\"\narch = \"x86_64\"\nrootfs = \"host\"\n",
        reference.len()
    );
    std::fs::write(root.join("task.toml"), toml).unwrap();
    TaskBundle::open(&root.display().to_string()).unwrap()
}
