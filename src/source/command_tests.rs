use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

fn shell(script: &str) -> CommandSource {
    let argv = ["sh", "-c", script].map(OsString::from).to_vec();
    CommandSource::new("out.txt", argv, Arc::new(StopFlag::new())).unwrap()
}

fn read_all(source: &mut CommandSource) -> (Vec<u8>, io::Result<usize>) {
    let mut bytes = Vec::new();
    let mut stream = source.next_stream().unwrap().unwrap();
    let outcome = stream.reader.read_to_end(&mut bytes);
    (bytes, outcome)
}

fn is_alive(pid: &str) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn output_of_a_good_command_is_whole() {
    let mut source = shell("printf hello; printf noise >&2");
    let (bytes, outcome) = read_all(&mut source);
    assert_eq!((bytes.as_slice(), outcome.unwrap()), (&b"hello"[..], 5));
    assert!(source.next_stream().unwrap().is_none());
    let record = source.record();
    assert_eq!((record.kind.as_str(), record.path.as_slice()), ("command", &b"out.txt"[..]));
    assert_eq!(record.incomplete, Vec::<String>::new());
}

#[test]
fn a_failing_command_is_an_error_at_the_end() {
    let mut source = shell("printf half; echo 'no space' >&2; exit 3");
    let (bytes, outcome) = read_all(&mut source);
    assert_eq!(bytes, b"half");
    assert_eq!(outcome.unwrap_err().to_string(), "`sh` failed (exit status 3): no space");
    assert_eq!(source.record().incomplete.len(), 1);
}

#[test]
fn output_closed_early_does_not_hide_a_failure() {
    let mut source = shell("printf half; exec >&-; sleep 0.3; exit 1");
    let outcome = read_all(&mut source).1;
    assert_eq!(outcome.unwrap_err().to_string(), "`sh` failed (exit status 1): it gave no reason");
}

#[test]
fn a_signal_is_a_failure() {
    let outcome = read_all(&mut shell("printf half; kill -9 $$")).1;
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "`sh` failed (killed by signal 9): it gave no reason"
    );
}

#[test]
fn the_error_stays() {
    let mut source = shell("exit 1");
    let mut stream = source.next_stream().unwrap().unwrap();
    for _ in 0..3 {
        assert!(stream.reader.read(&mut [0; 8]).is_err());
    }
}

#[test]
fn a_missing_program_is_named() {
    let argv = vec![OsString::from("no-such-program-here")];
    let mut source = CommandSource::new("x", argv, Arc::new(StopFlag::new())).unwrap();
    assert_eq!(
        source.next_stream().unwrap_err().to_string(),
        "cannot start `no-such-program-here`: No such file or directory (os error 2); \
         install it or give its full path"
    );
}

#[test]
fn much_noise_does_not_block_and_only_its_end_is_told() {
    let mut source =
        shell("i=0; while [ $i -lt 30000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1");
    let error = read_all(&mut source).1.unwrap_err().to_string();
    assert!(error.ends_with("line 29998 / line 29999"), "{error}");
    assert!(error.len() < 4096);
}

#[test]
fn a_dropped_reader_ends_the_whole_group() {
    let mut source = shell("sleep 1000 & echo $! $$; trap '' TERM; while :; do sleep 1000; done");
    let mut stream = source.next_stream().unwrap().unwrap();
    let mut buffer = [0; 64];
    let n = stream.reader.read(&mut buffer).unwrap();
    let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
    let pids: Vec<&str> = text.split_whitespace().collect();
    assert!(pids.iter().all(|pid| is_alive(pid)));
    drop(stream);
    assert!(!std::path::Path::new(&format!("/proc/{}", pids[1])).exists(), "not reaped");
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_alive(pids[0]) {
        assert!(Instant::now() < deadline, "the grandchild lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(source.record().incomplete.len(), 1);
}

#[test]
fn the_stop_flag_ends_a_silent_command() {
    let stop = Arc::new(StopFlag::new());
    let argv = ["sleep", "1000"].map(OsString::from).to_vec();
    let mut source = CommandSource::new("x", argv, Arc::clone(&stop)).unwrap();
    let mut stream = source.next_stream().unwrap().unwrap();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        stop.stop();
    });
    let begin = Instant::now();
    let error = stream.reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(StreamError::is_stop(&error) && error.kind() != io::ErrorKind::Interrupted);
    assert!(begin.elapsed() < Duration::from_secs(3));
    stopper.join().unwrap();
}

#[test]
fn standard_input_is_empty_and_arguments_are_not_for_a_shell() {
    let argv = ["sh", "-c", "cat; printf %s \"$1\"", "sh", "$(id); *"].map(OsString::from).to_vec();
    let mut source = CommandSource::new("a/b", argv, Arc::new(StopFlag::new())).unwrap();
    assert_eq!(read_all(&mut source).0, b"$(id); *");
}

#[test]
fn a_large_output_passes_unchanged() {
    let (bytes, outcome) = read_all(&mut shell("head -c 5000000 /dev/zero"));
    outcome.unwrap();
    assert_eq!(bytes.len(), 5_000_000);
}

#[test]
fn a_file_that_is_no_program_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let argv = vec![file.path().as_os_str().to_owned()];
    let mut source = CommandSource::new("x", argv, Arc::new(StopFlag::new())).unwrap();
    assert!(source.next_stream().unwrap_err().to_string().contains("Permission denied"));
}

#[test]
fn bad_names_are_refused() {
    for name in ["", "/etc/passwd", "../x", "a//b", "a/./b", "a\0b", "a/"] {
        assert!(StdinSource::new(name, Arc::new(StopFlag::new())).is_err(), "{name:?}");
    }
    let error = StdinSource::new("../x", Arc::new(StopFlag::new())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`../x` cannot be a path in a snapshot: a part of it is empty, `.` or `..`; choose a name like `dump/data.sql`"
    );
}
