//! Puts the example projects into the program, for `polder init --example`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let examples = manifest.join("../../examples");
    println!("cargo::rerun-if-changed={}", examples.display());
    let mut files = Vec::new();
    if examples.is_dir() {
        collect(&examples, &mut files)?;
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let relative = file.strip_prefix(&examples).map_err(io::Error::other)?;
        let name = relative.to_string_lossy().replace('\\', "/");
        let path = file.canonicalize()?;
        writeln!(text, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())
            .map_err(io::Error::other)?;
    }
    text.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("examples.rs"), text)
}

/// All files of a folder but those that running the example leaves there.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with(".polder") && name != "data" {
                collect(&path, files)?;
            }
        } else if name != ".env" {
            files.push(path);
        }
    }
    Ok(())
}
