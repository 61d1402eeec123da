//! The status page in a real browser: what is on it, on a phone, in the dark, without a network; how large, and how soon.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Place;
use super::driver::{Driver, ENTER, ESCAPE, TAB};
use super::nights::{configured, ok, run, write_config};
use super::site::site;
use super::standing::invented;

const NIGHTLY: &str = "schedule = { run = \"0 23 * * *\" }";

/// Debian's Chromium, headless, with a fresh profile, these arguments and a page.
fn chromium(place: &Place, arguments: &[&str], page: &Path) -> String {
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .env("HOME", place.dir.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let output = command.output().expect("chromium of the package `chromium`");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("Content Security Policy"), "the policy fits the page: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Width and height of a PNG.
fn size_of(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// A catalogue as a run notes it down, of so many snapshots.
pub fn catalogue(place: &Place, instance: &str, count: i64) {
    let now = Timestamp::now();
    let snapshots: Vec<Value> = (0..count)
        .map(|number| {
            let time = now - SignedDuration::from_hours(24 * (count - number) - 20);
            let reasons: &[&str] = match (number, number % 30) {
                (number, _) if number > count - 8 => &["last", "daily"],
                (number, _) if number == count / 2 => &["pinned: before the move"],
                (0, _) => &["yearly"],
                (_, 0) => &["monthly"],
                (_, 7 | 14) => &["weekly"],
                _ => &[],
            };
            json!({ "id": format!("{number:064x}"), "instance": instance, "time": time, "end": time,
                "counter": number, "is_complete": number % 17 != 3, "bytes": 700_000_000,
                "stored_bytes": 1_000_000, "tags": [], "reasons": reasons,
                "rows": { "mrs/public.claim": 20_000 + number * 10, "mrs/public.bill": 50_000 + number } })
        })
        .collect();
    let receipts: Vec<Value> = (0..10)
        .map(|number| {
            json!({ "id": format!("{number:064x}"), "kind": if number % 5 == 0 { "test-restore" } else { "run" },
                "time": now - SignedDuration::from_hours(24 * (10 - number)), "instance": instance,
                "host": "server", "result": "ok", "snapshot": null, "details": {} })
        })
        .collect();
    fs::create_dir_all(place.path("state/known")).unwrap();
    let text =
        json!({ "repository": "ab", "snapshots": snapshots, "receipts": receipts }).to_string();
    place.write(&format!("state/known/{instance}.catalogue.json"), text.as_bytes());
}

#[test]
fn a_browser_shows_what_there_is_to_see() {
    let place = configured(NIGHTLY);
    ok(&place, &["run"]);
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    assert_eq!(run(&place, &["run"]).code, Some(1));
    let page = place.path("status.html");
    ok(&place, &["status", "--html", "status.html"]);
    let dom = chromium(&place, &["--dump-dom"], &page);
    for words in [
        "mrs is safe; look at it.",
        "nothing of instance `mrs` is there",
        "<code>mrs-backup doctor mrs --only paths</code>",
        "What stays and why",
        "1 stay, 0 go next",
        "Receipts",
    ] {
        assert!(dom.contains(words), "`{words}`: {dom}");
    }
    write_config(
        &place,
        &format!("{NIGHTLY}\n[page]\nlanguage = \"fr\"\nfile = \"{}\"", page.display()),
    );
    fs::remove_file(&page).unwrap();
    fs::rename(place.path("gone"), place.path("src")).unwrap();
    ok(&place, &["run"]);
    let dom = chromium(&place, &["--dump-dom"], &page);
    assert!(dom.contains("lang=\"fr\"") && dom.contains("mrs est en sécurité."), "{dom}");
    assert!(dom.contains("Ce qui reste et pourquoi"), "{dom}");
    fs::remove_file(&page).unwrap();
    fs::create_dir(&page).unwrap();
    let ran = ok(&place, &["run"]);
    assert!(ran.stderr.contains("cannot write the page"), "told, and fails nothing: {ran:?}");
}

#[test]
fn fifty_instances_fit_on_one_page_and_on_a_phone() {
    let place = Place::new();
    invented(&place, 50, 120);
    for number in 0..50 {
        catalogue(&place, &format!("i{number}"), 500);
    }
    let page = place.path("status.html");
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        ok(&place, &["status", "--html", "status.html"]);
        best = best.min(begun.elapsed());
    }
    let len = fs::metadata(&page).unwrap().len();
    println!("a page of 50 instances with 500 snapshots each: {len} bytes in {best:?}");
    assert!(len < 500_000, "{len} bytes");
    // Of an optimized program 2 s are promised; this one is not optimized.
    let most = if cfg!(debug_assertions) { 20 } else { 2 };
    assert!(best < Duration::from_secs(most), "{best:?}");
    let driver = Driver::start(&place);
    let mut soonest = f64::MAX;
    for _ in 0..3 {
        driver.open(&format!("file://{}", page.display()));
        let times = driver.run(
            "document.body.offsetHeight; const n = performance.getEntriesByType('navigation')[0], \
             p = performance.getEntriesByName('first-contentful-paint')[0]; \
             return Math.max(n.loadEventEnd, p ? p.startTime : 0, performance.now())",
        );
        soonest = soonest.min(times.as_f64().unwrap());
    }
    println!("shown by a browser after {soonest} ms");
    assert!(soonest < 1000.0, "{soonest} ms");
    assert_eq!(driver.run("return document.querySelectorAll('section').length"), 50);
    drop(driver);
    // On a phone nothing is wider than the screen: a frame of that width has no bar to scroll sideways.
    let frame = "<!doctype html><body style='margin:0'>\
        <iframe id=f src='status.html' width=360 height=640 style='border:0'></iframe>\
        <script>f.onload=()=>{const d=f.contentDocument.documentElement;\
        document.title=d.scrollWidth+' of '+d.clientWidth}</script>";
    place.write("phone.html", frame.as_bytes());
    let arguments = ["--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=8000"];
    let dom = chromium(&place, &arguments, &place.path("phone.html"));
    assert!(dom.contains("<title>360 of 360</title>"), "{dom}");
}

/// Whatever stands on the page, and what it stands on: text at 4.5, shapes that say something at 3 (WCAG 2.2, 1.4.3 and 1.4.11).
const CONTRAST: &str = r"
document.querySelectorAll('details').forEach(one => one.open = true);
const light = c => { const f = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]) };
const color = text => { const parts = text.match(/[\d.]+/g).map(Number); return [...parts, 1].slice(0, 4) };
const ground = element => { for (let at = element; at; at = at.parentElement) {
    const found = color(getComputedStyle(at).backgroundColor); if (found[3] === 1) return found } return [255, 255, 255, 1] };
const ratio = (text, element, opacity) => { const below = ground(element), above = color(text), share = above[3] * opacity;
    const seen = [0, 1, 2].map(n => above[n] * share + below[n] * (1 - share));
    const [a, b] = [light(seen), light(below)]; return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) };
const bad = [], seen = new Set(); let count = 0;
const look = (element, what, text, least) => { count += 1; const style = getComputedStyle(element);
    const found = ratio(text, element, Number(style.opacity)); seen.add(what);
    if (found < least) bad.push(what + ' ' + found.toFixed(2)) };
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) { const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || element.closest('script,style,title,[hidden]')) continue;
    const style = getComputedStyle(element), isDrawn = element instanceof SVGElement;
    look(element, element.tagName + '.' + element.className, isDrawn ? style.fill : style.color, 4.5) }
for (const shape of document.querySelectorAll('svg path:not(.x), svg polyline')) { const style = getComputedStyle(shape);
    const what = shape.tagName + '.' + shape.getAttribute('class');
    for (const paint of [style.fill, style.stroke]) if (paint.startsWith('rgb') && !(paint === style.fill && style.stroke !== 'none'))
        look(shape, what, paint, 3) }
return { bad: [...new Set(bad)], kinds: [...seen], count }";

/// A page nobody writes any more.
fn an_old_page_says_so(place: &Place, driver: &Driver) {
    assert_eq!(driver.run("return document.querySelector('#old').hidden"), true);
    let text = fs::read_to_string(place.path("status.html")).unwrap();
    let year = text.split("datetime=\"").nth(1).unwrap()[..4].to_owned();
    let old = text.replace(&format!("datetime=\"{year}"), "datetime=\"2001");
    place.write("old.html", old.as_bytes());
    driver.open(&format!("file://{}", place.text("old.html")));
    let told =
        driver.run("const e = document.querySelector('#old'); return e.hidden ? '' : e.innerText");
    assert!(told.as_str().unwrap().contains("h old: what writes it may be dead"), "{told}");
}

#[test]
fn it_can_be_read_by_everybody_and_used_without_a_mouse() {
    let place = Place::new();
    site(&place);
    ok(&place, &["status", "--html", "status.html"]);
    let driver = Driver::start(&place);
    let url = format!("file://{}", place.text("status.html"));
    for scheme in ["light", "dark"] {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        driver.device("Emulation.setEmulatedMedia", &json!({ "features": feature }));
        driver.open(&url);
        let found = driver.run(CONTRAST);
        assert_eq!(found["bad"], json!([]), "{scheme}: {found}");
        let kinds = found["kinds"].to_string();
        for kind in [
            "H1.critical",
            "A.ok",
            "SMALL.",
            "path.r",
            "path.s1",
            "path.s2",
            "path.s3",
            "path.t",
            "path.t w",
            "path.m",
            "path.o",
            "path.b",
            "path.k0",
            "path.k1",
            "path.k2",
            "path.k3",
            "path.k4",
            "path.k5",
            "polyline.l",
        ] {
            assert!(kinds.contains(kind), "{kind} was looked at: {kinds}");
        }
    }
    // The tabulator comes by everything there is to do, in order, and shows where it is.
    driver.open(&url);
    let wanted = driver.run(
        "return [...document.querySelectorAll('a[href],summary,input')].map(e => e.tagName + e.textContent)",
    );
    let wanted = wanted.as_array().unwrap().clone();
    assert!(wanted.len() >= 3 + 1 + 9, "{wanted:?}");
    for (number, expected) in wanted.iter().enumerate() {
        driver.press(&[TAB]);
        let at = driver.run(
            "const e = document.activeElement, s = getComputedStyle(e); return [e.tagName + e.textContent, s.outlineStyle, parseFloat(s.outlineWidth)]",
        );
        assert_eq!(at[0], *expected, "stop {number}");
        assert!(at[1] == "solid" && at[2].as_f64().unwrap() >= 3.0, "it is seen: {at}");
    }
    let unfolded = "return document.querySelectorAll('details[open]').length";
    assert_eq!(driver.run(unfolded), 0);
    driver.press(&[ENTER]);
    assert_eq!(driver.run(unfolded), 1, "the last stop unfolds something");
    // A slash leads to the field that leaves only some.
    let shown = "return [...document.querySelectorAll('section')].filter(e => !e.hidden).map(e => e.id).join()";
    driver.press(&["/", "C", "r", "i", "t"]);
    assert_eq!(driver.run(shown), "mrs-ecole");
    driver.press(&[ESCAPE]);
    assert_eq!(driver.run(shown), "mrs-ecole,mrs-production,mrs-staging");
    an_old_page_says_so(&place, &driver);
    let loaded = driver.run("return performance.getEntriesByType('resource').map(e => e.name)");
    assert_eq!(loaded, json!([]), "nothing else is needed");
    assert_eq!(driver.complaints(), Vec::<String>::new());
}

#[test]
fn screenshots_are_made_in_light_and_dark() {
    let place = Place::new();
    site(&place);
    let page = place.path("status.html");
    ok(&place, &["status", "--html", "status.html"]);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&target).unwrap();
    let shoot = |name: &str, size: &str, dark: &[&str]| {
        let file = target.join(name);
        let _ = fs::remove_file(&file);
        let shot = format!("--screenshot={}", file.display());
        let size = format!("--window-size={size}");
        chromium(&place, &[&[shot.as_str(), size.as_str()], dark].concat(), &page);
        fs::read(&file).unwrap()
    };
    let light = shoot("status-light.png", "1100,900", &[]);
    let dark_mode = ["--blink-settings=preferredColorScheme=0"];
    let dark = shoot("status-dark.png", "1100,900", &dark_mode);
    assert_ne!(light, dark);
    assert_eq!(size_of(&target.join("status-light.png")), (1100, 900));
    assert!(light.len() > 20_000, "something is on it: {}", light.len());
}
