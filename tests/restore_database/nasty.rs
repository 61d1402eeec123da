//! The database of `nasty.sql`, restored in place and in throw-away servers: word for word and row for row.

use crate::site::Site;
use crate::support::nasty::{self, assert_same_lines, contents, dump};
use crate::support::postgres::TestServer;

#[test]
fn the_nasty_database_comes_back_word_for_word_on_every_version() {
    for bin_dir in nasty::installations() {
        // Some of its tables as streams, the others in the archive.
        let site = Site::on(TestServer::start_from(&bin_dir)).streaming_from(16);
        nasty::create(&site.server, "app", 1000);
        let (words, rows) = (dump(&site.server, "app"), contents(&site.server, "app"));
        assert!(rows.len() > 1030, "{}", rows.len());
        site.backup();

        let proof = site.ok(&["test-restore", "--json"]).summary();
        assert_eq!(proof["is_proven"], true, "{proof}");
        let one = &proof["databases"][0];
        assert_eq!(one["schema"], "definitions are the same");
        // The newer one comes without it.
        let amcheck = one["amcheck"].as_str().unwrap();
        let has_amcheck =
            site.sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'");
        assert_eq!(amcheck == "no damage", has_amcheck == "1", "{amcheck}");

        // Whatever is there when it comes back.
        site.sql("DROP SCHEMA \"Odd Schema\" CASCADE; DELETE FROM public.texts; ALTER DATABASE app RESET ALL");
        let ran = site.restore(&[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_same_lines(&dump(&site.server, "app"), &words);
        assert_eq!(contents(&site.server, "app"), rows);

        // Where not even its roles are.
        let site = site.moved_to(TestServer::start_from(&bin_dir));
        let ran = site.restore(&[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_same_lines(&dump(&site.server, "app"), &words);
        assert_eq!(contents(&site.server, "app"), rows);
    }
}
