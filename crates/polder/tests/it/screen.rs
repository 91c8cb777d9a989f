//! A terminal to run the program on, and what stands on its screen in the end.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fixture::Project;

/// How long a text may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program on a terminal, which `script` of util-linux makes.
pub struct Terminal {
    child: Child,
    input: Option<ChildStdin>,
    output: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    columns: usize,
    /// Up to where the output was looked at.
    seen: usize,
}

impl Terminal {
    pub fn open(project: &Project, columns: usize, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let words = arguments.iter().map(|a| format!("'{}'", a.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ");
        let line = format!("stty cols {columns} rows 24; exec {} {words}", env!("CARGO_BIN_EXE_polder"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LESS", "POLDER_PRINCIPAL"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").env("USER", "tester").env("PAGER", "cat").envs(variables.iter().copied());
        command.current_dir(project.folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("`script` of util-linux");
        let (input, mut out) = (child.stdin.take(), child.stdout.take().unwrap());
        let output = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&output);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, input, output, reader: Some(reader), columns, seen: 0 }
    }

    /// Waits until a text appears behind what was seen before.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> &mut Self {
        let since = Instant::now();
        loop {
            let all = self.raw();
            let fresh = &all[self.seen.min(all.len())..];
            if let Some(at) = fresh.find(text) {
                self.seen += at + text.len();
                return self;
            }
            assert!(since.elapsed() < PATIENCE, "no `{text}` in:\n{}", fresh.escape_debug());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types.
    pub fn send(&mut self, keys: &str) -> &mut Self {
        let input = self.input.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
        self
    }

    /// Presses Tab until a text stands there: the names that it completes are read while one types.
    #[track_caller]
    pub fn tab_until(&mut self, text: &str) -> &mut Self {
        let since = Instant::now();
        loop {
            self.send("\t");
            std::thread::sleep(Duration::from_millis(400));
            let all = self.raw();
            if all[self.seen.min(all.len())..].contains(text) {
                return self.until(text);
            }
            assert!(since.elapsed() < PATIENCE, "Tab gives no `{text}` in:\n{}", all[self.seen..].escape_debug());
        }
    }

    /// All that was written so far, escape sequences and all.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Waits for the end. Gives the exit code and the lines of the screen, those above it too.
    pub fn end(mut self) -> (i32, Vec<String>) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        self.reader.take().unwrap().join().unwrap();
        (code, lines(&self.raw(), self.columns))
    }
}

/// What a terminal of so many columns shows: as much of one as progress bars and prompts use.
pub fn lines(raw: &str, columns: usize) -> Vec<String> {
    let mut screen: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{8}' => column = column.saturating_sub(1),
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                let mut parameter = String::new();
                while let Some(digit) = chars.next_if(|c| !c.is_ascii_alphabetic()) {
                    parameter.push(digit);
                }
                let n = parameter.parse().unwrap_or(1);
                while screen.len() <= row {
                    screen.push(Vec::new());
                }
                match chars.next() {
                    Some('A') => row = row.saturating_sub(n),
                    Some('B') => row += n,
                    Some('C') => column += n,
                    Some('D') => column = column.saturating_sub(n),
                    Some('G') => column = n - 1,
                    Some('K') if parameter == "2" => screen[row].clear(),
                    Some('K') => screen[row].truncate(column),
                    Some('J') => {
                        screen[row].truncate(column);
                        screen.truncate(row + 1);
                    }
                    _ => {}
                }
            }
            c if c.is_control() => {}
            c => {
                if column >= columns {
                    (row, column) = (row + 1, 0);
                }
                while screen.len() <= row {
                    screen.push(Vec::new());
                }
                let line = &mut screen[row];
                while line.len() <= column {
                    line.push(' ');
                }
                line[column] = c;
                column += 1;
            }
        }
    }
    screen.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn the_screen_moves_as_a_terminal_does() {
    assert_eq!(lines("ab\r\ncd\u{1b}[1A\r\u{1b}[2Kx\n", 80), ["x", "cd"]);
    assert_eq!(lines("abcdef", 4), ["abcd", "ef"]);
    assert_eq!(lines("\u{1b}[1mbold\u{1b}[0m\u{1b}[?25h", 80), ["bold"]);
}
