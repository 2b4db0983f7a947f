//! Compiles the zygote (crate `reenact-zygote`, `entry.rs`) into a static executable that `src/image.rs` embeds.
//!
//! Cargo cannot yet make a binary of one package a dependency of another (artifact dependencies are unstable), and the
//! zygote must not bring a linked C library, so rustc is called once, directly.

use std::path::PathBuf;

#[expect(
    clippy::disallowed_methods,
    reason = "a build script is not part of the harness; it only calls rustc"
)]
fn rustc(program: &std::ffi::OsStr) -> std::process::Command {
    std::process::Command::new(program)
}

fn main() {
    let here = PathBuf::from(
        std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"),
    );
    let out =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("zygote");
    let sources = here.join("../reenact-zygote/src");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = rustc(&compiler)
        .args(["--edition", "2024", "--crate-name", "zygote", "--crate-type", "bin"])
        .args([
            "-C",
            "opt-level=3",
            "-C",
            "panic=abort",
            "-C",
            "relocation-model=static",
            "-C",
            "strip=symbols",
        ])
        .args([
            "-C",
            "link-arg=-nostartfiles",
            "-C",
            "link-arg=-nodefaultlibs",
            "-C",
            "link-arg=-static",
        ])
        .args(["-C", "target-cpu=x86-64", "--cap-lints", "allow"])
        .arg("-o")
        .arg(&out)
        .arg(sources.join("entry.rs"))
        .status()
        .expect("rustc can be run");
    assert!(status.success(), "compiling the zygote failed: {status}");
}
