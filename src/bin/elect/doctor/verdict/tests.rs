//! Verdicts on file systems as they were measured, and on worse ones.

use super::*;
use crate::doctor::findings::{Appearance, Described, Watched};
use crate::doctor::timing::{CLAIM, RENEWAL};

const EXT4: &str = "27 1 254:0 / / rw - ext4 /dev/vda rw";
const NFS: &str = "30 1 0:40 / /s rw - nfs h:/x rw,vers=3,local_lock=none";
const NFS_NOLOCK: &str = "30 1 0:40 / /s rw - nfs h:/x rw,vers=3,nolock,local_lock=all";
const SSHFS: &str = "44 27 0:41 / /s rw - fuse.sshfs h:/x rw";
const UNHEARD_OF: &str = "44 27 0:41 / /s rw - fuse.bindfs /x rw";

/// A case in which all is well.
fn well(mount: &str, hosts: usize) -> Case {
    let raced = Raced {
        tried: 100,
        won: 50,
        refusals: [("EEXIST".to_owned(), 50)].into(),
        ..Raced::default()
    };
    let seen = Appearance { plain_micros: Some(100), listed_micros: Some(90), elsewhere: false };
    let times = [(CLAIM.to_owned(), vec![300; 100]), (RENEWAL.to_owned(), vec![40; 100])];
    let described = Described { link_count: Some(2), skew_millis: Some(3), ..Described::default() };
    let findings = Findings {
        described: Some(described),
        races: Race::ALL.map(|race| (race, raced.clone())).into(),
        flock_here: vec![SecondLock::Refused],
        appearances: vec![seen],
        watched: Watched { listings: 900, reads: 1800, ..Watched::default() },
        times: times.into(),
        ..Findings::default()
    };
    let file_system = FileSystem::from_mountinfo(mount);
    Case { directory: "/home/me".into(), file_system, findings, hosts, hung: None }
}

/// The decision, and the reasons in one text.
fn decide(case: &Case) -> (Decision, String) {
    let verdict = judge(case);
    (verdict.decision, verdict.reasons.join("\n"))
}

fn refused(case: &Case, part: &str) {
    let (decision, reasons) = decide(case);
    assert_eq!(decision, Decision::Refuse, "{reasons}");
    assert!(reasons.contains(part), "{part}: {reasons}");
}

fn sign_of(case: &Case, name: &str) -> Sign {
    let checks = judge(case).checks;
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:?}")).sign
}

#[test]
fn where_all_is_well_a_lock_may_stand() {
    let verdict = judge(&well(EXT4, 1));
    assert_eq!(verdict.decision, Decision::Trust, "{:?}", verdict.reasons);
    assert!(verdict.checks.iter().all(|check| check.sign == Sign::Good), "{:?}", verdict.checks);
    assert_eq!(verdict.settings.map(|settings| settings.lease_duration_millis), Some(2000));
}

#[test]
fn one_host_alone_is_noted_where_others_could_be() {
    let case = well(NFS, 1);
    assert_eq!(decide(&case).0, Decision::Trust);
    assert_eq!(sign_of(&case, "hosts"), Sign::Note);
    assert_eq!(sign_of(&well(NFS, 2), "hosts"), Sign::Good);
}

#[test]
fn a_flock_that_others_do_not_see_is_no_danger_for_the_lock() {
    let mut case = well(NFS_NOLOCK, 2);
    case.findings.flock_elsewhere = vec![SecondLock::Granted];
    assert_eq!(decide(&case).0, Decision::Trust);
    assert_eq!(sign_of(&case, "flock, between hosts"), Sign::Note);
}

#[test]
fn what_is_known_to_be_bad_is_refused_however_well_it_looks() {
    refused(&well(SSHFS, 2), "sshfs");
}

#[test]
fn mount_options_count_however_well_it_looks() {
    let mount = "30 1 0:40 / /s rw - nfs h:/x rw,vers=3,nocto,local_lock=none";
    refused(&well(mount, 2), "mount without it");
    let case = well("30 1 0:40 / /s rw - nfs h:/x rw,vers=3,soft,local_lock=none", 2);
    assert_eq!(decide(&case).0, Decision::Trust);
    assert_eq!(sign_of(&case, "mount options"), Sign::Note);
}

#[test]
fn two_winners_are_refused() {
    let mut case = well(NFS, 2);
    case.findings.races.get_mut(&Race::LinkOfSymlink).unwrap().won_twice = 1;
    refused(&case, "two winners");
}

#[test]
fn symbolic_links_are_needed_and_links_of_them_are_not() {
    let none = Raced {
        tried: 100,
        nobody: 100,
        refusals: [("EPERM".to_owned(), 100)].into(),
        ..Raced::default()
    };
    let mut case = well(NFS, 1);
    case.findings.races.insert(Race::LinkOfSymlink, none.clone());
    assert_eq!(decide(&case).0, Decision::Trust);
    case.findings.races.insert(Race::Symlink, none);
    refused(&case, "no symbolic links");
}

#[test]
fn names_that_are_gone_are_refused_and_odd_refusals_are_noted() {
    let mut case = well(NFS, 1);
    let raced = case.findings.races.get_mut(&Race::Symlink).unwrap();
    raced.refusals.insert("EPERM".into(), 4);
    assert_eq!(sign_of(&case, "symlink race"), Sign::Note);
    case.findings.races.get_mut(&Race::Symlink).unwrap().lost_though_won = 1;
    assert_eq!(sign_of(&case, "symlink race"), Sign::Note);
    case.findings.races.get_mut(&Race::Symlink).unwrap().nobody = 1;
    refused(&case, "gone");
}

#[test]
fn listings_that_can_not_be_relied_on_are_refused() {
    type Spoil = fn(&mut Watched);
    let ways: [(Spoil, &str); 4] = [
        (|watched| watched.lost_names = 1, "lacked a name"),
        (|watched| watched.went_back = 1, "older state"),
        (|watched| watched.wrong_text = 1, "another text"),
        (|watched| watched.listings = 0, "none was possible"),
    ];
    for (spoil, part) in ways {
        let mut case = well(NFS, 2);
        spoil(&mut case.findings.watched);
        refused(&case, part);
    }
}

#[test]
fn old_content_counts_only_against_what_is_unheard_of() {
    for (mount, decision) in [(NFS, Decision::Trust), (UNHEARD_OF, Decision::Refuse)] {
        let mut case = well(mount, 2);
        assert_eq!(decide(&case).0, Decision::Trust);
        case.findings.watched.old_after_new = 1;
        assert_eq!(decide(&case).0, decision, "{mount}");
    }
}

#[test]
fn a_name_that_stays_absent_is_refused_if_listing_does_not_help() {
    let mut case = well(NFS, 2);
    case.findings.appearances[0].plain_micros = None;
    assert_eq!(sign_of(&case, "absent names"), Sign::Note);
    assert_eq!(decide(&case).0, Decision::Trust);
    case.findings.appearances[0].listed_micros = None;
    refused(&case, "stays absent");
}

#[test]
fn where_old_files_are_often_removed_that_is_noted() {
    let case = |path: &str| Case { directory: path.into(), ..well(NFS, 2) };
    assert_eq!(sign_of(&case("/scratch1/me"), "purges"), Sign::Note);
    assert_eq!(purges(Path::new("/home/me/homework")), None);
}

#[test]
fn slow_calls_ask_for_settings() {
    let mut case = well(NFS, 2);
    case.findings.times.insert(CLAIM.into(), vec![900_000; 20]);
    let (decision, reasons) = decide(&case);
    assert_eq!(decision, Decision::TrustWithSettings);
    assert!(reasons.contains("--lease-duration 27s"), "{reasons}");
}

#[test]
fn what_hangs_or_was_not_tried_is_not_known_and_so_not_trusted() {
    let hung = Some("Compete did not return within 60s".to_owned());
    refused(&Case { hung, ..well(NFS, 1) }, "did not return");
    let mut case = well(NFS, 1);
    case.findings.races.remove(&Race::Symlink);
    refused(&case, "not tried");
}

#[test]
fn calls_that_fail_in_the_end_count_where_they_are_needed() {
    let mut case = well(NFS, 1);
    case.findings.failed_calls.insert("link".into(), "ENOSPC".into());
    assert_eq!(sign_of(&case, "calls fail"), Sign::Note);
    case.findings.failed_calls.insert(RENEWAL.into(), "ENOSPC".into());
    refused(&case, "renewal: ENOSPC");
}

#[test]
fn a_refusal_of_another_host_counts_here() {
    let mut case = well(NFS, 2);
    assert_eq!(judge(&case).refusal(), "");
    case.findings.refusals_elsewhere = vec!["two winners".into()];
    refused(&case, "another host refuses: two winners");
    assert!(judge(&case).refusal().contains("two winners"));
}
