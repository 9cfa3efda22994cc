//! What docs/sql.md shows is run as it stands there.

use std::{fs, path::Path};

use sqlx::{Connection, PgConnection};

use crate::{
    fixture::LIMITS,
    sql_functions::{Scene, run},
};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md")).unwrap()
}

/// The blocks of a page that are in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    page.split(opening.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

const SHOP: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, total numeric);
    DROP ROLE IF EXISTS shop_of_docs; CREATE ROLE shop_of_docs LOGIN; GRANT INSERT, SELECT ON orders TO shop_of_docs;
    GRANT CREATE, USAGE ON SCHEMA public TO shop_of_docs; ALTER TABLE orders OWNER TO shop_of_docs";

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_of_the_page_does_what_it_says() {
    let mut scene = Scene::new(LIMITS).await;
    run(&mut scene.sql, SHOP).await;
    let page = page();
    let blocks = blocks(&page, "sql");
    assert!(blocks.len() >= 5, "the search finds them");
    let (rights, calls): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.contains("GRANT "));
    // As if nodes had not been allowed to make the role: all is dropped that the page makes.
    run(&mut scene.sql, "DROP OWNED BY draftwire_publisher").await;
    for block in rights.iter().rev() {
        // The role is the server's, and other tests use it.
        let block = block.replace("CREATE ROLE draftwire_publisher;", "").replace("shop", "shop_of_docs");
        run(&mut scene.sql, &block).await;
    }
    let url = scene.database.url.replace("//postgres@", "//shop_of_docs@");
    let mut shop = PgConnection::connect(&url).await.unwrap();
    for block in calls {
        run(&mut shop, block).await;
    }
    assert_eq!(place_order(&mut shop, 4713, "zoe").await.unwrap(), 2);
    let heads = "SELECT string_agg(name || ' ' || head, ', ' ORDER BY name) FROM draftwire.streams";
    let heads: String = sqlx::query_scalar(heads).fetch_one(&mut scene.sql).await.unwrap();
    // The trigger publishes both orders that come after it.
    assert_eq!(heads, "all 1, topic:match:1 1, topic:orders 2, user:ann 2, user:bob 1, user:zoe 1");
    drop(shop);
    run(&mut scene.sql, "DROP OWNED BY shop_of_docs; DROP ROLE shop_of_docs").await;
}

#[rustfmt::skip]
async fn place_order(database: &mut PgConnection, order: i64, customer: &str) -> Result<i64, sqlx::Error> {
    let mut transaction = database.begin().await?;
    sqlx::query("INSERT INTO orders (id, customer) VALUES ($1, $2)")
        .bind(order)
        .bind(customer)
        .execute(&mut *transaction)
        .await?;
    let seq = sqlx::query_scalar("SELECT draftwire.publish('orders', 'ORDER_PLACED', $1::text)")
        .bind(format!(r#"{{"order": {order}}}"#))
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(seq)
}

#[test]
fn the_rust_of_the_page_is_what_is_run_here() {
    let page = page();
    let [block] = blocks(&page, "rust")[..] else { panic!("one block") };
    assert!(include_str!("sql_docs.rs").contains(block), "another one than in this file");
}
