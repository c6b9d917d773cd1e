//! What the options of a mount mean for a lock, as far as they tell without trying. Pure.

use leaderelection::{FileSystem, FileSystemKind};

use super::verdict::{Check, Sign, check};

/// The options worth a word; `None` where there is none.
pub fn options(found: &FileSystem) -> Option<Check> {
    use FileSystemKind::{Nfs3, Nfs3LocalLocks, Nfs4};
    if !matches!(found.kind, Nfs3 | Nfs3LocalLocks | Nfs4) {
        return None;
    }
    let said: Vec<(Sign, &str)> = found.options.iter().filter_map(|option| nfs(option)).collect();
    let sign = if said.iter().any(|(sign, _)| *sign == Sign::Bad) { Sign::Bad } else { Sign::Note };
    let text: Vec<&str> = said.iter().map(|(_, text)| *text).collect();
    (!text.is_empty()).then(|| check("mount options", sign, text.join("; ")))
}

/// Why a lock should not be tried there at all.
pub fn refuses(found: &FileSystem) -> bool {
    options(found).is_some_and(|check| check.sign == Sign::Bad)
}

fn nfs(option: &str) -> Option<(Sign, &'static str)> {
    Some(match option {
        "nocto" => (
            Sign::Bad,
            "nocto: what other hosts have changed may stay unseen for up to acdirmax (60 s), \
             though the directory is opened and listed; mount without it",
        ),
        "soft" | "softerr" => (
            Sign::Note,
            "soft: a call may fail although it was carried out (the lock looks again; other \
             programs may lose data: `hard` is safer)",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(mount: &str) -> Option<Sign> {
        options(&FileSystem::from_mountinfo(mount).unwrap()).map(|check| check.sign)
    }

    #[test]
    fn options_that_matter_are_told_where_they_do() {
        assert_eq!(sign("9 1 0:9 / /s rw - nfs h:/x rw,vers=3,nocto,soft"), Some(Sign::Bad));
        assert_eq!(sign("9 1 0:9 / /s rw - nfs4 h:/x rw,vers=4.2,nocto"), Some(Sign::Bad));
        assert_eq!(sign("9 1 0:9 / /s rw - nfs h:/x rw,vers=3,soft,timeo=20"), Some(Sign::Note));
        assert_eq!(sign("9 1 0:9 / /s rw - nfs h:/x rw,vers=3,hard,acdirmax=60"), None);
        assert_eq!(sign("9 1 0:9 / /s rw - ext4 /dev/vda rw,nocto"), None);
    }
}
