//! COMMAND before it runs: whether there is such a program, as far as that is certain.
//!
//! So that a mistyped name is found at once, and not when leadership has been won.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::exit;

/// Why COMMAND surely can't run.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The exit code that says so.
    pub code: u8,
    /// The same for people.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Executable,
    NotExecutable,
    Nothing,
    /// A directory that can't be searched, say.
    NotKnown,
}

/// Looks for `program` as `execvp` will.
pub fn check(program: &OsStr) -> Result<(), Unusable> {
    // Without a PATH, the system's default decides, which only the system knows.
    let Some(path) = env::var_os("PATH") else { return Ok(()) };
    check_in(program, &path)
}

fn check_in(program: &OsStr, path: &OsStr) -> Result<(), Unusable> {
    let name = program.display();
    let found = match program.as_bytes().contains(&b'/') {
        true => look_at(Path::new(program)),
        false => look_along(program, path),
    };
    match found {
        Found::Executable | Found::NotKnown => Ok(()),
        Found::NotExecutable => Err(Unusable {
            code: exit::NOT_EXECUTABLE,
            reason: format!("cannot execute {name}: it is not an executable file"),
        }),
        Found::Nothing if program.as_bytes().contains(&b'/') => Err(Unusable {
            code: exit::NOT_FOUND,
            reason: format!("cannot execute {name}: there is no such file"),
        }),
        Found::Nothing => Err(Unusable {
            code: exit::NOT_FOUND,
            reason: format!("cannot execute {name}: it is in no directory of PATH"),
        }),
    }
}

fn look_along(program: &OsStr, path: &OsStr) -> Found {
    if program.is_empty() {
        return Found::Nothing;
    }
    let mut result = Found::Nothing;
    for directory in env::split_paths(path) {
        match look_at(&directory.join(program)) {
            Found::Executable => return Found::Executable,
            Found::NotKnown => result = Found::NotKnown,
            Found::NotExecutable if result == Found::Nothing => result = Found::NotExecutable,
            Found::NotExecutable | Found::Nothing => {}
        }
    }
    result
}

fn look_at(path: &Path) -> Found {
    match fs::metadata(path) {
        Ok(file) if file.is_dir() => Found::NotExecutable,
        Ok(_) => match access(path, Access::EXEC_OK) {
            Ok(()) => Found::Executable,
            Err(rustix::io::Errno::ACCESS) => Found::NotExecutable,
            Err(_) => Found::NotKnown,
        },
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Found::Nothing,
            _ => Found::NotKnown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn code(program: &str, path: &Path) -> Result<(), u8> {
        check_in(OsStr::new(program), path.as_os_str()).map_err(|unusable| unusable.code)
    }

    #[test]
    fn a_program_is_looked_for_along_the_path_and_by_its_path() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("tool");
        assert_eq!(code("tool", place.path()), Err(127));
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(code("tool", place.path()), Err(126));
        assert_eq!(code(program.to_str().unwrap(), Path::new("")), Err(126));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(code("tool", place.path()), Ok(()));
        assert_eq!(code(program.to_str().unwrap(), Path::new("")), Ok(()));
        assert_eq!(code("tool/x", place.path()), Err(127));
        assert_eq!(code("", place.path()), Err(127));
        assert_eq!(code("/", place.path()), Err(126));
    }
}
