//! `kill -9` at ten random moments of a grading loses and repeats nothing.

use crate::support::*;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn ten_kills_lose_and_repeat_nothing() {
    let s = Scratch::new();
    let id = s.sort_suite(400);
    s.reenact(["run", &id, "--agent", "memorizer", "--probes", "30", "-o", "calm"]).expect(0);
    let copied = std::process::Command::new("cp")
        .args(["-r", "calm", "killed"])
        .current_dir(s.root())
        .status()
        .unwrap();
    assert!(copied.success());
    s.reenact(["grade", "calm"]).expect(0);

    // Moments spread over build and suite; the seed is fixed, the machine's speed is not, so the first ones are early.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut kills = 0;
    for _ in 0..200 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut child = s
            .command()
            .args(["grade", "killed"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + seed % 150));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
        if kills == 10 || s.path(&format!("killed/{id}/{id}.reenact.json")).exists() {
            break;
        }
    }
    assert!(kills >= 3, "the grading was over after {kills} kills: make the suite longer");
    s.reenact(["grade", "killed"]).expect(0);
    assert_eq!(
        s.verdicts("killed", &id),
        s.verdicts("calm", &id),
        "same verdicts as without kills"
    );

    // Since the last build that the journal knows, each case was judged exactly once.
    let journal = std::fs::read_to_string(s.path("killed/journal.jsonl")).unwrap();
    let mut judged: BTreeMap<String, u32> = BTreeMap::new();
    for line in journal.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        if record["event"] == "judged" {
            *judged.entry(record["case"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(judged.len(), s.verdicts("calm", &id).0.len());
    let repeated: Vec<_> = judged.iter().filter(|(_, n)| **n != 1).collect();
    assert!(repeated.is_empty(), "judged more than once: {repeated:?}");
}

#[test]
fn an_interrupted_grading_resumes() {
    let s = Scratch::new();
    let id = s.sort_suite(300);
    s.reenact(["run", &id, "--agent", "null", "-o", "run"]).expect(0);
    let child = s
        .command()
        .args(["grade", "run", "--workers", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let ended = Ran::from(child.wait_with_output().unwrap());
    // On a very fast machine it may have been done by then.
    assert!(matches!(ended.code, Some(130 | 0)), "{:?} {}", ended.code, ended.stderr);
    s.reenact(["grade", "run"]).expect(0);
    assert_eq!(
        s.verdicts("run", &id).0.len(),
        s.json(&format!("run/{id}/{id}.reenact.json"))["total"].as_u64().unwrap() as usize
    );
}
