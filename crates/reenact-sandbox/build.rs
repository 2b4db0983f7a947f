//! Compiles the programs that run in sandboxes into static executables that `src/image.rs` embeds: the zygote (crate
//! `reenact-zygote`, `entry.rs`) and the oracle's stub (`stub/stub_entry.rs`).
//!
//! Cargo cannot yet make a binary of one package a dependency of another (artifact dependencies are unstable), and these
//! programs must not bring a linked C library, so rustc is called once for each, directly.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

#[expect(
    clippy::disallowed_methods,
    reason = "a build script is not part of the harness; it only calls rustc"
)]
fn rustc(program: &OsStr) -> std::process::Command {
    std::process::Command::new(program)
}

fn main() {
    let here = PathBuf::from(
        std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"),
    );
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = here.join("../reenact-zygote/src");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-changed=build.rs");
    compile("zygote", &sources.join("entry.rs"), &out);
    compile("stub", &sources.join("stub/stub_entry.rs"), &out);
}

fn compile(name: &str, root: &Path, out: &Path) {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = rustc(&compiler)
        .args(["--edition", "2024", "--crate-name", name, "--crate-type", "bin"])
        .args(["-C", "opt-level=3", "-C", "panic=abort", "-C", "relocation-model=static"])
        .args(["-C", "strip=symbols", "-C", "target-cpu=x86-64", "--cap-lints", "allow"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nodefaultlibs"])
        .args(["-C", "link-arg=-static"])
        .arg("-o")
        .arg(out.join(name))
        .arg(root)
        .status()
        .expect("rustc can be run");
    assert!(status.success(), "compiling the {name} failed: {status}");
}
