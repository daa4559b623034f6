//! Runs a page of the documentation, so that what it shows is what happens.
//!
//! Every ```` ```console ```` block is a piece of a terminal: a line after `$ ` is typed, what follows it
//! is seen. All lines go to one shell, in order, in one directory, and end with success unless the next
//! one is `echo $?`. The lines that are shown must be among those that come, in their order; `...`
//! stands for anything, also for lines.
//!
//! A line that runs a daemon has a terminal of its own, which stays open: the page goes on when what it
//! shows was seen. The same line again is a look at the same terminal while the daemon runs, and starts
//! it again otherwise. `^C` interrupts it; a line that begins with `error:` is its last one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::consortium::{interrupt, wait_until};

/// A line that takes longer than this will not end.
const PATIENCE: Duration = Duration::from_secs(240);

/// Keys pressed in a terminal.
const INTERRUPT: &str = "^C";

/// Something typed, and what is shown after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Where it stands, from 1.
    pub(crate) number: usize,
    pub(crate) line: String,
    pub(crate) shown: Vec<String>,
}

/// What a page has its readers type.
pub(crate) fn typed(page: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(line) = line.strip_prefix("$ ").filter(|_| inside) {
            all.push(Typed {
                number: index + 1,
                line: line.to_owned(),
                shown: Vec::new(),
            });
        } else if inside {
            let last = all.last_mut().expect("a block begins with `$ `");
            if last.line.ends_with('\\') {
                last.line.push('\n');
                last.line.push_str(line);
            } else {
                last.shown.push(line.to_owned());
            }
        }
    }
    all
}

/// Spaces that only line columns up count as one.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line is what a page shows, `...` standing for anything.
fn fits(shown: &str, line: &str) -> bool {
    let (shown, line) = (words(shown), words(line));
    let mut parts = shown.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    false
}

/// How many lines it takes until all that is shown was seen, in order; or what was not seen.
fn seen<'a>(shown: &'a [String], output: &str) -> Result<usize, &'a str> {
    let mut lines = output.lines().enumerate();
    let mut last = 0;
    for wanted in shown.iter().filter(|line| *line != "...") {
        match lines.find(|(_, line)| fits(wanted, line)) {
            Some((place, _)) => last = place + 1,
            None => return Err(wanted),
        }
    }
    Ok(last)
}

/// Whether a line runs a daemon.
fn is_daemon(line: &str) -> bool {
    line.starts_with("collegium coordinator run ") || line.starts_with("collegium node run ")
}

/// A reader at work: a shell, and a terminal for each daemon.
pub(crate) struct Reader {
    directory: PathBuf,
    /// Where what terminals show is kept.
    screens: PathBuf,
    path: String,
    shell: Child,
    codes: Receiver<String>,
    terminals: BTreeMap<String, Terminal>,
}

struct Terminal {
    child: Child,
    screen: PathBuf,
    /// Lines that were looked at.
    seen: usize,
}

impl Reader {
    /// A reader in `directory`; `screens` is a directory for what is seen.
    pub(crate) fn new(directory: &Path, screens: &Path) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_collegium"));
        let programs = program.parent().expect("a directory").display();
        let path = format!("{programs}:{}", std::env::var("PATH").expect("a path"));
        let mut shell = clean(Command::new("sh"), directory, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let output = BufReader::new(shell.stdout.take().expect("its output"));
        let (sender, codes) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            directory: directory.to_owned(),
            screens: screens.to_owned(),
            path,
            shell,
            codes,
            terminals: BTreeMap::new(),
        }
    }

    /// Types all lines, and looks at what comes.
    pub(crate) fn follow(&mut self, page: &[Typed]) {
        for (place, typed) in page.iter().enumerate() {
            let next = page.get(place + 1).map(|next| next.line.as_str());
            if is_daemon(&typed.line) {
                self.watch(typed);
            } else {
                self.run(typed, next == Some("echo $?"));
            }
        }
    }

    fn run(&mut self, typed: &Typed, may_fail: bool) {
        let Typed {
            number,
            line,
            shown,
        } = typed;
        let screen = self.screens.join("shell");
        // In braces it runs in this very shell, so that variables stay; `$?` is kept for the next line.
        let whole = format!(
            "{{ {line}\n}} >'{}' 2>&1 </dev/null; code=$?; echo \"$code\"; (exit \"$code\")\n",
            screen.display()
        );
        let mut input = self.shell.stdin.as_ref().expect("its input");
        input.write_all(whole.as_bytes()).expect("the shell reads");
        let code = self.codes.recv_timeout(PATIENCE);
        let output = fs::read_to_string(&screen).unwrap_or_default();
        let place = format!("line {number}: {line}");
        let code = code.unwrap_or_else(|_| panic!("{place}\ndoes not end:\n{output}"));
        assert!(
            code == "0" || may_fail,
            "{place}\nends with {code}:\n{output}"
        );
        if let Err(wanted) = seen(shown, &output) {
            panic!("{place}\nshows no `{wanted}`, but:\n{output}");
        }
    }

    /// Looks at a daemon's terminal until what the page shows was seen.
    fn watch(&mut self, typed: &Typed) {
        let Typed {
            number,
            line,
            shown,
        } = typed;
        let mut terminal = match self.terminals.remove(line) {
            Some(terminal) => terminal,
            None => self.open(line),
        };
        let (interrupted, shown) = match shown.split_last() {
            Some((last, before)) if last == INTERRUPT => (true, before),
            _ => (false, shown.as_slice()),
        };
        let place = format!("line {number}: {line}");
        let ends = shown.iter().any(|line| line.starts_with("error:"));
        wait_until(&format!("what is shown after {place}"), || {
            let ended = terminal.child.try_wait().expect("its status");
            let output = terminal.output();
            match seen(shown, &output) {
                Ok(lines) => {
                    terminal.seen += lines;
                    true
                }
                Err(wanted) => {
                    assert!(
                        ended.is_none(),
                        "{place}\nended ({ended:?}) without `{wanted}`:\n{output}"
                    );
                    false
                }
            }
        });
        if interrupted {
            interrupt(&terminal.child);
        }
        if interrupted || ends {
            let mut status = None;
            wait_until(&format!("the end of {place}"), || {
                status = terminal.child.try_wait().expect("its status");
                status.is_some()
            });
            let success = status.is_some_and(|status| status.success());
            assert_eq!(success, interrupted, "{place}\n{}", terminal.output());
        } else {
            self.terminals.insert(line.clone(), terminal);
        }
    }

    fn open(&self, line: &str) -> Terminal {
        let name: String = line
            .chars()
            .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
            .collect();
        let screen = self.screens.join(name);
        let file = File::create(&screen).expect("a file");
        // `exec` makes the daemon the child, and the pipe ends it with this test, whatever happens.
        let child = clean(Command::new("sh"), &self.directory, &self.path)
            .args(["-c", &format!("exec {line} --until-stdin-closes")])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file.try_clone().expect("a handle")))
            .stderr(Stdio::from(file))
            .spawn()
            .expect("the daemon starts");
        Terminal {
            child,
            screen,
            seen: 0,
        }
    }
}

impl Terminal {
    /// What was not looked at yet, in whole lines.
    fn output(&self) -> String {
        let text = fs::read_to_string(&self.screen).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let lines: Vec<&str> = whole.lines().skip(self.seen).collect();
        lines.join("\n")
    }
}

fn clean(mut command: Command, directory: &Path, path: &str) -> Command {
    command
        .current_dir(directory)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG");
    command
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        for (line, terminal) in &mut self.terminals {
            let _ = terminal.child.kill();
            let _ = terminal.child.wait();
            if std::thread::panicking() {
                let output = fs::read_to_string(&terminal.screen).unwrap_or_default();
                let lines: Vec<&str> = output.lines().collect();
                let from = lines.len().saturating_sub(15);
                eprintln!("--- {line}\n{}", lines[from..].join("\n"));
            }
        }
    }
}

#[test]
fn a_page_is_read_line_by_line() {
    let page = "text\n```console\n$ one \\\n  two\nseen\n$ three\n```\n```sh\n$ not this\n```\n";
    let lines = typed(page);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0].line, "one \\\n  two");
    assert_eq!(
        (lines[0].number, lines[0].shown.as_slice()),
        (3, &["seen".to_owned()][..])
    );
    assert_eq!((lines[1].number, lines[1].line.as_str()), (6, "three"));
}

#[test]
fn what_is_shown_must_be_there_in_order() {
    for (shown, line, wanted) in [
        ("a b", "a   b ", true),
        ("a b", "a b c", false),
        ("a ...", "a b c", true),
        ("... c", "a b c", true),
        ("a ... c ... e", "a b c d e", true),
        ("a ... d ... c", "a b c d e", false),
        ("...", "", true),
        ("b ...", "a b", false),
    ] {
        assert_eq!(fits(shown, line), wanted, "`{shown}` and `{line}`");
    }
    let shown = ["one".to_owned(), "three".to_owned()];
    assert_eq!(seen(&shown, "one\ntwo\nthree\nfour"), Ok(3));
    assert_eq!(seen(&shown, "three\none"), Err("three"));
}
