//! A scripted model to try agents on by hand: plays the commands given as arguments, one for each turn, then submits.
//!
//!     cargo run -p reenact-testkit --example serve -- 'ls docs' './executable --help'
//!
//! Prints its address, and serves until its standard input ends; then it lists the requests it got.

use reenact_testkit::{ScriptedModel, Turn};

fn main() -> std::io::Result<()> {
    let commands: Vec<Turn> = std::env::args().skip(1).map(|c| Turn::bash(&c)).collect();
    let model = ScriptedModel::start(commands.into_iter().chain([Turn::submit()]));
    println!("{}", model.base_url());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    for request in model.requests() {
        let what = request.turn.map_or_else(String::new, |t| format!(" turn {t}"));
        let streamed = if request.body["stream"] == true { " streamed" } else { "" };
        println!("{} {}{what}{streamed}", request.method, request.path);
    }
    Ok(())
}
