//! Prints the path of a root file system (a tar file) made of this host's packages: `image [PACKAGE…]`; without packages,
//! those of a ProgramBench image.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let mut packages: Vec<&str> = named.iter().map(String::as_str).collect();
    if packages.is_empty() {
        packages.extend(reenact_testkit::image::PROGRAMBENCH_PACKAGES);
    }
    println!("{}", reenact_testkit::image::debian_root(&packages)?.display());
    Ok(())
}
