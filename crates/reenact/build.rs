//! Records the commit that the harness is built from, for run manifests.

#[expect(
    clippy::disallowed_methods,
    reason = "a build script is not part of the harness; it only asks git"
)]
fn git(args: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git")
        .args(args)
        .output()
        .ok()
        .filter(|o| o.status.success())?;
    String::from_utf8(output.stdout).ok().map(|s| s.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-changed=../../.git/index");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=REENACT_COMMIT={commit}");
        let dirty =
            git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|s| !s.is_empty());
        println!("cargo::rustc-env=REENACT_DIRTY={dirty}");
    }
}
