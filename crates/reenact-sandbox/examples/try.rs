use reenact_model::*;
use reenact_sandbox::*;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut spec = CellSpec::host();
    if std::env::var_os("USERNS").is_some() { spec.isolation.force_userns = true; }
    if std::env::var_os("FALLBACK").is_some() { spec.isolation.cgroup = Setting::Fallback; }
    let t = std::time::Instant::now();
    let mut cell = Cell::start(&spec).unwrap();
    eprintln!("start {:?} {:#?}", t.elapsed(), cell.layers());
    let case = Case::parse(std::path::Path::new("x"), 1, &serde_json::json!({"id":"c","steps":[{"argv":args[1..].to_vec()}],"files":{"d/a.txt":{"text":"hello\n"}}}).to_string()).unwrap();
    let seen = cell.run_case(&args[0], &case, &NoBlobs, &Perturbation::default()).unwrap();
    println!("{}", serde_json::to_string_pretty(&seen).unwrap());
    let n = 2000;
    let case = Case { files: Default::default(), ..case };
    let t = std::time::Instant::now();
    for _ in 0..n { cell.run_case(&args[0], &case, &NoBlobs, &Perturbation::default()).unwrap(); }
    eprintln!("{:?} per run", t.elapsed() / n);
}
