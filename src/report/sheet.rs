//! The recovery sheet: one page with what is needed on the day the server is gone. As text, or as a
//! drawing (SVG) with a code for a telephone's camera, to be printed by any browser.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use super::clean;

/// Characters of a line of base64.
const LINE: usize = 76;
/// Millimetres of an A4 page.
const PAGE: (f64, f64) = (210.0, 297.0);
const MARGIN: f64 = 15.0;
const LINE_HEIGHT: f64 = 4.1;
const FONT: f64 = 3.2;
/// Letters of that size that fit between the margins: a letter is 0.6 of its size wide.
const COLUMNS: usize = 92;
/// Side of the code in millimetres.
const CODE: f64 = 62.0;

/// What is on the page.
pub struct Sheet {
    /// Program and version that made it.
    pub program: String,
    /// The day it was made.
    pub date: String,
    /// The repository's id, in hexadecimal digits.
    pub repository: String,
    /// The instance, if one is known.
    pub instance: Option<String>,
    /// Where the repository and its copies are: name and location, without passwords.
    pub places: Vec<(String, String)>,
    /// Whether a place asks for a password or key of its own.
    pub has_logins: bool,
    /// What opens it besides what is on the page: `the password`.
    pub opened_by: String,
    /// A password of its own, which is only on this page.
    pub recovery_key: Option<Zeroizing<String>>,
    /// The object `config`.
    pub config: Vec<u8>,
    /// One object below `keys/`: its name and bytes. It is sealed: without the password it is of no use.
    pub slot: (String, Vec<u8>),
}

impl Sheet {
    /// The page as text.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for line in self.lines().iter() {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn lines(&self) -> Zeroizing<Vec<String>> {
        let mut lines = Zeroizing::new(Vec::new());
        let mut say = |line: String| lines.push(line);
        say(format!(
            "RECOVERY SHEET of a backup repository          {}, {}",
            self.date, self.program
        ));
        say(String::new());
        match &self.recovery_key {
            Some(_) => {
                say("WHOEVER HAS THIS PAGE AND REACHES ONE OF THE PLACES CAN READ EVERYTHING."
                    .to_owned());
                say("Keep it locked away, not on the server and not in its backup.".to_owned());
            }
            None => {
                say(format!(
                    "Keep it away from the server. It does not open anything without {}.",
                    self.opened_by
                ));
            }
        }
        say(String::new());
        say(format!("repository    {}", self.repository));
        if let Some(instance) = &self.instance {
            say(format!("instance      {}", clean(instance)));
        }
        for (name, location) in &self.places {
            say(format!("{:<13} {}", clean(name), clean(location)));
        }
        if self.has_logins {
            say("Logins of the places are not printed; a location names the file they belong in. By hand:".to_owned());
            say(String::new());
            say("              ____________________________________________________________"
                .to_owned());
        }
        say(format!("opened by     {}", self.opened_by));
        if let Some(key) = &self.recovery_key {
            say(format!("recovery key  {}", key.as_str()));
            say("              (a password: capital letters, digits and dashes, as printed)"
                .to_owned());
        }
        say(String::new());
        self.steps(&mut say);
        say(String::new());
        say("If `config` or everything below `keys/` is lost at the place, put these two back:"
            .to_owned());
        let (slot, bytes) = &self.slot;
        for (name, bytes) in [("config", &self.config), (&format!("keys/{slot}"), bytes)] {
            say(format!("  base64 -d > {name} <<END"));
            let encoded = STANDARD.encode(bytes);
            let mut rest = encoded.as_str();
            while !rest.is_empty() {
                let (line, more) = rest.split_at(LINE.min(rest.len()));
                say(format!("  {line}"));
                rest = more;
            }
            say("  END".to_owned());
        }
        lines
    }

    fn steps(&self, say: &mut impl FnMut(String)) {
        let place = self.places.last().map_or("LOCATION", |(_, location)| location.as_str());
        let place = clean(place);
        let instance = self
            .instance
            .as_deref()
            .map_or_else(|| "latest".to_owned(), |name| format!("latest:{}", clean(name)));
        say("On the day, on any machine with the program mrs-backup:".to_owned());
        say(format!("  1. what is there    mrs-backup snapshots --repo {place}"));
        say(format!(
            "  2. the files        mrs-backup restore --repo {place} {instance} /srv/back"
        ));
        say("  3. go on from it    mrs-backup init --adopt LOCATION --repo NEW-PLACE".to_owned());
        say("It asks for the password. Databases are in the restored directory `postgres`,"
            .to_owned());
        say("for pg_restore; docs/operations.md of the program has the rest.".to_owned());
    }

    /// What the code says: the same in the least room. The objects are left out where they do not fit.
    fn code(&self) -> Option<QrCode> {
        let (slot, bytes) = &self.slot;
        let mut short = Zeroizing::new(format!("mrs-backup 1\nrepository {}\n", self.repository));
        for (name, location) in &self.places {
            short.push_str(&format!("at {name} {location}\n"));
        }
        if let Some(key) = &self.recovery_key {
            short.push_str(&format!("recovery-key {}\n", key.as_str()));
        }
        let config = STANDARD.encode(&self.config);
        let whole = Zeroizing::new(format!(
            "{}config {config}\nkeys/{slot} {}\n",
            short.as_str(),
            STANDARD.encode(bytes)
        ));
        let of = |text: &str| QrCode::with_error_correction_level(text, EcLevel::L).ok();
        of(&whole).or_else(|| of(&short))
    }

    /// Lines that fit the width of a page; a long one goes on below.
    fn wrapped(&self) -> Zeroizing<Vec<String>> {
        let mut wrapped = Zeroizing::new(Vec::new());
        for line in self.lines().iter() {
            let letters: Zeroizing<Vec<char>> = Zeroizing::new(line.chars().collect());
            match letters.is_empty() {
                true => wrapped.push(String::new()),
                false => wrapped.extend(letters.chunks(COLUMNS).map(|part| part.iter().collect())),
            }
        }
        wrapped
    }

    /// The page as a drawing.
    pub fn svg(&self) -> Zeroizing<String> {
        let (width, height) = PAGE;
        let mut svg = Zeroizing::new(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
             width=\"{width}mm\" height=\"{height}mm\" viewBox=\"0 0 {width} {height}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        ));
        let mut y = MARGIN;
        for line in self.wrapped().iter() {
            y += LINE_HEIGHT;
            svg.push_str(&format!(
                "<text x=\"{MARGIN}\" y=\"{y:.1}\" font-family=\"monospace\" font-size=\"{FONT}\" \
                 xml:space=\"preserve\">{}</text>\n",
                escaped(line)
            ));
        }
        if let Some(code) = self.code() {
            svg.push_str(&drawn(&code, (width - CODE) / 2.0, height - MARGIN - CODE));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The dark squares of a code, in rows.
fn drawn(code: &QrCode, x: f64, y: f64) -> String {
    let width = code.width();
    let side = CODE / width as f64;
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (column, row) = (at % width, at / width);
            path.push_str(&format!("M{column},{row}h1v1h-1z"));
        }
    }
    format!(
        "<path transform=\"translate({x:.2},{y:.2}) scale({side:.5})\" fill=\"black\" \
         shape-rendering=\"crispEdges\" d=\"{path}\"/>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(recovery_key: Option<&str>) -> Sheet {
        Sheet {
            program: "mrs-backup 0".to_owned(),
            date: "2026-11-25".to_owned(),
            repository: "ab".repeat(32),
            instance: Some("app".to_owned()),
            places: vec![
                ("primary".to_owned(), "/mnt/backup".to_owned()),
                ("cellar".to_owned(), "ftps://backup@host/<a&b>".to_owned()),
            ],
            has_logins: true,
            opened_by: "the password".to_owned(),
            recovery_key: recovery_key.map(|key| Zeroizing::new(key.to_owned())),
            config: vec![1; 155],
            slot: ("cd".repeat(32), (0..510_u32).map(|n| n as u8).collect()),
        }
    }

    /// What a camera would read of the drawing.
    fn scanned(svg: &str) -> String {
        const SCALE: usize = 4;
        const QUIET: usize = 4 * SCALE;
        let path = svg.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let squares: std::collections::HashSet<(usize, usize)> = path
            .split('M')
            .skip(1)
            .map(|square| {
                let at = square.strip_suffix("h1v1h-1z").unwrap();
                let (x, y) = at.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        let width = squares.iter().map(|(x, _)| x + 1).max().unwrap();
        let side = width * SCALE + 2 * QUIET;
        let dark = |x: usize, y: usize| {
            let (Some(x), Some(y)) = (x.checked_sub(QUIET), y.checked_sub(QUIET)) else {
                return false;
            };
            squares.contains(&(x / SCALE, y / SCALE))
        };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
            if dark(x, y) { 0 } else { 255 }
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn the_objects_on_the_page_can_be_put_back() {
        let sheet = sheet(None);
        let text = sheet.text();
        assert!(!text.contains("recovery key"));
        assert!(text.contains("Logins of the places are not printed"));
        assert!(text.contains("does not open anything without the password"));
        let objects: Vec<Vec<u8>> = text
            .split("<<END\n")
            .skip(1)
            .map(|rest| {
                let body = rest.split("  END").next().unwrap();
                let body: String = body.split_whitespace().collect();
                STANDARD.decode(body).unwrap()
            })
            .collect();
        assert_eq!(objects, [sheet.config.clone(), sheet.slot.1.clone()]);
    }

    #[test]
    fn a_page_with_a_key_says_so() {
        let text = sheet(Some("AAAA-BBBB")).text();
        assert!(text.contains("recovery key  AAAA-BBBB"));
        assert!(text.contains("WHOEVER HAS THIS PAGE"));
        assert!(text.contains("restore --repo ftps://backup@host/<a&b> latest:app"));
    }

    #[test]
    fn the_drawing_fits_a_page_and_holds_a_code() {
        let sheet = sheet(Some("AAAA-BBBB"));
        let svg = sheet.svg();
        assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&b>"));
        assert!(svg.contains("<path transform"));
        assert!(sheet.wrapped().iter().all(|line| line.chars().count() <= COLUMNS));
        assert!(MARGIN * 2.0 + COLUMNS as f64 * FONT * 0.6 <= PAGE.0);
        let lines = sheet.wrapped().len() as f64;
        assert!(MARGIN + lines * LINE_HEIGHT < PAGE.1 - MARGIN - CODE, "{lines} lines");
        let code = sheet.code().unwrap();
        let read = scanned(&svg);
        assert_eq!(read.lines().nth(4), Some("recovery-key AAAA-BBBB"));
        // The two objects are in it as well, and can be put back from it.
        let object = |name: &str| {
            let line = read.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
            STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap()
        };
        assert_eq!(object("config"), sheet.config);
        assert_eq!(object(&format!("keys/{}", sheet.slot.0)), sheet.slot.1);
        // Small enough that a camera tells the squares apart: 0.4 mm and more.
        assert!(CODE / code.width() as f64 > 0.4, "{}", code.width());
        // Very many places: without the objects rather than without a code.
        let mut long = sheet;
        long.places = (0..30).map(|n| (format!("copy{n}"), "/".repeat(50))).collect();
        assert!(long.code().is_some());
    }
}
