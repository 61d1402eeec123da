//! One table beside the live one.

use crate::site::Site;

#[test]
fn a_table_comes_back_beside_the_live_one_and_is_compared() {
    let site = Site::new();
    site.backup();
    site.sql("DELETE FROM public.bill WHERE id <= 5; UPDATE public.bill SET cents = 1 WHERE id IN (6, 7)");
    site.sql("INSERT INTO public.bill VALUES (9001, NULL, 4)");
    let args = ["restore", "latest", "--database", "--table", "public.bill", "--json"];
    site.run(&args).fails(2, "is to be made in database app");
    let ran = site.ok(&[&args[..], &["--yes"]].concat());
    let difference = &ran.summary()["difference"];
    let number = |name: &str| difference[name].as_u64().unwrap();
    assert_eq!(
        (number("same"), number("changed"), number("only_snapshot"), number("only_live")),
        (2993, 2, 5, 1)
    );
    assert_eq!(site.sql("SELECT count(*), sum(cents) FROM mrs_restore.bill"), "3000|45015000");
    assert_eq!(site.sql("SELECT count(*) FROM public.bill"), "2996", "the live one is as it was");
    // Once more it is replaced; what somebody else made is not.
    site.ok(&[&args[..], &["--yes"]].concat());
    site.sql("COMMENT ON TABLE mrs_restore.bill IS 'mine now'");
    site.run(&[&args[..], &["--yes"]].concat()).fails(1, "table `mrs_restore.bill` is in the way");
    // Without a key rows are the same or not; a column that is gone is named.
    site.sql(
        "UPDATE public.log SET line = 'x' WHERE line IS NULL; ALTER TABLE public.log ADD more int",
    );
    let args =
        ["restore", "latest", "--database", "app", "--table", "public.log", "--yes", "--json"];
    let summary = site.ok(&args).summary();
    let difference = &summary["difference"];
    assert_eq!((&difference["same"], &difference["only_live"]), (&2.into(), &1.into()));
    assert_eq!(
        (&difference["changed"], &difference["columns"][0]),
        (&serde_json::Value::Null, &"more".into())
    );
    // A table that is gone is just restored.
    site.sql("DROP TABLE public.log");
    let ran = site.ok(&[&args[..7], &["--schema", "back", "--json"]].concat());
    assert_eq!(ran.summary()["difference"], serde_json::Value::Null);
    assert_eq!(site.sql("SELECT count(*) FROM back.log"), "3");
    site.run(&["restore", "latest", "--database", "--table", "bill", "--yes"])
        .fails(2, "did you mean `public.bill`");
}
