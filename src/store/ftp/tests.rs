use super::listing::{of_list, of_mlsd};
use super::reply::Trouble;
use super::*;
use suppaftp::types::Response;

fn trouble(code: u32, text: &str) -> Trouble {
    FtpError::UnexpectedResponse(Response::new(Status::from(code), text.as_bytes().to_vec())).into()
}

#[test]
fn refusals_are_understood() {
    use StoreErrorKind as K;
    for (code, text, kind, keeps_step) in [
        (550, "550 Failed to open file.", K::NotFound, true),
        (550, "550 Permission denied.", K::Denied, true),
        (552, "552 Quota exceeded", K::NoSpace, true),
        (452, "452 Insufficient storage space", K::NoSpace, true),
        (553, "553 Could not create file.", K::Denied, true),
        (421, "421 Timeout.", K::Temporary, false),
        (426, "426 Failure writing network stream.", K::Temporary, true),
        (530, "530 Please login with USER and PASS.", K::Temporary, false),
        (226, "226 Transfer complete.", K::Temporary, false),
    ] {
        let found = trouble(code, text);
        assert_eq!((found.failure.kind, found.keeps_step), (kind, keeps_step), "{text}");
    }
    assert!(trouble(502, "502 Unknown command").failure.is_unsupported);
    assert!(trouble(421, "421 Too many connections").is_too_many);
}

#[test]
fn listings_are_read() {
    let found = of_mlsd("type=file;size=42;modify=20261125065508;unix.mode=0644; abc").unwrap();
    assert_eq!((found.name.as_str(), found.size, found.is_directory), ("abc", 42, false));
    assert_eq!(found.modified.unwrap().to_string(), "2026-11-25T06:55:08Z");
    assert!(of_mlsd("type=dir;modify=20261125065508; packs").unwrap().is_directory);
    for line in [
        "type=cdir;modify=20261125065508; .",
        "type=pdir; ..",
        "nonsense",
        "",
        "type=file;size=1; a/b",
    ] {
        assert_eq!(of_mlsd(line), None, "{line}");
    }
    let found = of_list("-rw-------    1 1000     1000           42 Nov 25  2025 abc").unwrap();
    assert_eq!((found.name.as_str(), found.size, found.is_directory), ("abc", 42, false));
    assert!(
        of_list("drwx------    2 1000     1000         4096 Nov 25 06:55 packs")
            .unwrap()
            .is_directory
    );
    for line in ["total 12", "lrwxrwxrwx 1 0 0 3 Nov 25 06:55 a -> b", ""] {
        assert_eq!(of_list(line), None, "{line}");
    }
}
