//! The oracle on terminals: real terminal programs under tmux, inside the room. Needs tmux, nnn, fzf, htop, entr and less on the
//! host (`.ci/run` installs them).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod oracle_support;

use oracle_support::{Bench, SHELL};
use std::time::{Duration, Instant};

/// A tmux session in the room, with a shell in it.
struct Screen<'a> {
    bench: &'a Bench,
}

const TMUX: &str = "TERM=xterm-256color tmux -L t -f /dev/null";

impl<'a> Screen<'a> {
    fn start(bench: &'a Bench) -> Self {
        bench.out(&format!(
            "{TMUX} new-session -d -x 70 -y 24 'env PS1=\"ok> \" bash --norc --noprofile -i'"
        ));
        let screen = Self { bench };
        screen.wait_for("ok>");
        screen
    }

    /// Types keys as tmux names them; text goes as it is.
    fn keys(&self, keys: &str) {
        self.bench.out(&format!("{TMUX} send-keys {keys}"));
    }

    /// Types a command line.
    fn line(&self, line: &str) {
        let quoted = line.replace('\'', "'\\''");
        self.bench.out(&format!("{TMUX} send-keys -l '{quoted}' && {TMUX} send-keys Enter"));
    }

    fn text(&self) -> String {
        self.bench.out(&format!("{TMUX} capture-pane -p -t 0"))
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "waiting for {what}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, what: &str) -> String {
        self.wait_until(what, |text| text.contains(what))
    }

    /// Waits for a line that is exactly this.
    fn wait_for_line(&self, what: &str) {
        self.wait_until(what, |text| text.lines().any(|l| l.trim_end() == what));
    }

    fn clear(&self) {
        self.line("clear");
        self.wait_until("an empty screen", |text| text.trim() == "ok>");
    }
}

/// Whether the tools are there. Where they are not, the test says that it is skipped; where they must be
/// (`REENACT_REQUIRE_TOOLS`, as in `.ci/run`), it fails.
fn installed(tools: &[&str]) -> bool {
    let missing: Vec<&&str> =
        tools.iter().filter(|t| reenact_sandbox::host::find(t).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("REENACT_REQUIRE_TOOLS").is_none(), "not installed: {missing:?}");
    eprintln!("SKIPPED: not installed: {missing:?}");
    false
}

/// Both ways to give a reference a terminal: the caller's own, and one of its own.
fn both_ways(reference: &str, test: impl Fn(&Bench)) {
    if !installed(&["tmux", reference]) {
        return;
    }
    test(&Bench::new(reference));
    test(&Bench::with_terminals(reference));
}

#[test]
fn nnn_walks_through_directories() {
    both_ways("/usr/bin/nnn", |bench| {
        bench.out("mkdir -p q/sub; > q/alpha; > q/beta; > q/sub/inner");
        let screen = Screen::start(bench);
        screen.line("cd q; ../executable; echo ended $?");
        screen.wait_for("beta");
        screen.keys("Right");
        screen.wait_for("inner");
        screen.keys("q");
        screen.wait_for_line("ended 0");
    });
}

#[test]
fn fzf_filters_and_previews() {
    both_ways("/usr/bin/fzf", |bench| {
        let screen = Screen::start(bench);
        screen.line(
            "seq 500 | ./executable --preview 'echo before {} after' > picked; echo ended $?",
        );
        screen.wait_for("500/500");
        screen.keys("1 7 8");
        screen.wait_for("before 178 after");
        screen.keys("Enter");
        screen.wait_for_line("ended 0");
        assert_eq!(bench.out("cat picked"), "178\n");
    });
}

#[test]
fn htop_follows_the_window_size() {
    both_ways("/usr/bin/htop", |bench| {
        let screen = Screen::start(bench);
        screen.line("./executable; echo ended $?");
        let narrow = screen.wait_for("F9Kill");
        assert!(narrow.contains("Load average"), "{narrow}");
        bench.out(&format!("{TMUX} resize-window -t 0 -x 100 -y 30"));
        screen.wait_until("thirty lines", |text| {
            let lines: Vec<&str> = text.lines().collect();
            lines.len() == 30 && lines[29].contains("F10")
        });
        screen.keys("F10");
        screen.wait_for_line("ended 0");
    });
}

#[test]
fn entr_runs_again_and_hears_keys() {
    both_ways("/usr/bin/entr", |bench| {
        bench.out("echo a > watched");
        let screen = Screen::start(bench);
        screen.line("echo watched | ./executable sh -c 'echo saw $(cat watched)'; echo ended $?");
        screen.wait_for_line("saw a");
        // entr drops what happens while its program runs, and waits until a file has been quiet for a moment: once may not be
        // enough, and again and again is too much.
        let last = std::cell::Cell::new(None::<Instant>);
        screen.wait_until("saw b", |text| {
            if last.get().is_none_or(|at| at.elapsed() > Duration::from_secs(2)) {
                bench.out("echo b > watched");
                last.set(Some(Instant::now()));
            }
            text.lines().any(|l| l == "saw b")
        });
        screen.keys("q");
        screen.wait_for_line("ended 0");
    });
}

#[test]
fn a_pager_at_the_end_of_a_pipe() {
    both_ways("/usr/bin/less", |bench| {
        let screen = Screen::start(bench);
        screen.line("seq 1000 | ./executable; echo ended $?");
        screen.wait_for_line("20");
        screen.keys("G");
        screen.wait_for_line("1000");
        screen.keys("q");
        screen.wait_for_line("ended 0");
    });
}

#[test]
fn interrupt_stop_and_go_on() {
    both_ways(SHELL, |bench| {
        let screen = Screen::start(bench);
        bench.out("echo 'trap \"echo heard; exit 5\" INT; echo started; while :; do sleep 0.02; done' > s");
        screen.line("./executable s; echo ended $?");
        screen.wait_for_line("started");
        screen.keys("C-z");
        screen.wait_for("Stopped");
        screen.line("stty -a | grep -o -- '-*icanon'; jobs | wc -l");
        screen.wait_for_line("1");
        screen.line("bg; echo in the back");
        screen.wait_for_line("in the back");
        screen.line("fg");
        screen.wait_until("fg", |text| text.matches("./executable s").count() >= 3);
        screen.keys("C-c");
        screen.wait_for("heard");
        screen.clear();
        screen.line("./executable -c 'exec sleep 1000'; echo ended $?");
        screen.wait_for("sleep 1000");
        // It may not have started yet: the key is for whoever is in the foreground.
        bench.out("until pgrep -x sleep > /dev/null; do sleep 0.01; done");
        screen.keys("'C-\\'");
        screen.wait_for_line("ended 131");
        screen.line("stty -a | grep -o -- '-*icanon'");
        screen.wait_for_line("icanon");
    });
}

#[test]
fn reading_keys_and_the_terminal_by_name() {
    both_ways(SHELL, |bench| {
        let screen = Screen::start(bench);
        screen.line("./executable -c 'read x; echo got $x; cat'; echo ended $?");
        screen.keys("some Space text Enter");
        screen.wait_for_line("got some text");
        screen.keys("more Enter C-d");
        screen.wait_for_line("ended 0");
        screen.clear();
        screen.line("./executable -c 'read x < /dev/tty; echo by name $x' < /dev/null | cat");
        screen.keys("abc Enter");
        screen.wait_for_line("by name abc");
        screen.clear();
        screen.line("./executable -c 'seq 3000; tty'; ./executable -c 'stty size; echo last'");
        let text = screen.wait_until("last", |text| text.lines().any(|l| l == "last"));
        let tail: Vec<&str> = text.lines().take_while(|l| *l != "last").collect();
        assert_eq!(tail[tail.len() - 3..tail.len() - 2], ["3000"], "{text}");
        assert!(tail[tail.len() - 2].starts_with("/dev/pts/"), "{text}");
        assert_eq!(tail[tail.len() - 1], "24 70", "{text}");
    });
}

#[test]
fn an_interactive_shell_has_job_control_on_a_terminal_of_its_own() {
    if !installed(&["tmux"]) {
        return;
    }
    let bench = Bench::with_terminals(SHELL);
    let screen = Screen::start(&bench);
    screen.line("PS1='in> ' ./executable --norc --noprofile -i; echo ended $?");
    // The prompt, not the command line with it.
    screen.wait_until("the prompt", |text| text.lines().any(|l| l.starts_with("in>")));
    screen.line("sleep 1000");
    bench.out("until pgrep -x sleep > /dev/null; do sleep 0.01; done");
    screen.keys("C-z");
    screen.wait_for("Stopped");
    screen.line("jobs | grep -c sleep; fg");
    screen.wait_for_line("1");
    screen.wait_until("fg", |text| text.lines().filter(|l| *l == "sleep 1000").count() == 1);
    // The shell tells it before it lets go of the terminal.
    bench.out("until ps -o stat= -C sleep | grep -qF +; do sleep 0.01; done");
    screen.keys("C-c");
    bench.out(&format!("{TMUX} resize-window -t 0 -x 90 -y 20"));
    screen.line("until [ \"$(stty size)\" = '20 90' ]; do sleep 0.02; done; echo resized");
    screen.wait_for_line("resized");
    screen.line("exit 4");
    screen.wait_for_line("ended 4");
}

#[test]
fn a_terminal_that_goes_away_ends_the_reference() {
    both_ways(SHELL, |bench| {
        let screen = Screen::start(bench);
        screen.line("exec ./executable -c 'echo $$ > pid; trap \"echo hup > hup; exit\" HUP; while :; do sleep 0.02; done'");
        bench.out("until [ -s pid ]; do sleep 0.01; done");
        bench.out(&format!(
            "{TMUX} kill-server; while kill -0 $(cat pid) 2>/dev/null; do sleep 0.02; done"
        ));
    });
}
