//! Geo sets, command by command. The replies are what Valkey 9.1 answers.

use crate::command::testing::{check, check3};

const SICILY: &str = "
    > GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
    :2
";

#[test]
fn places_are_stored_as_scores_and_logged_as_such() {
    check(
        "
        > GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        :2
        effect ZADD g 3479099956230698 Palermo 3479447370796909 Catania
        event n new g
        event z zadd g
        > GEOADD g NX CH 15 37 Palermo 2 1 x
        :1
        effect ZADD g 3377933965140938 x
        event z zadd g
        > GEOADD g XX CH 13.361389 38.115556 Palermo
        :0
        > GEOADD g NX XX 1 2 x
        -ERR syntax error
        > GEOADD g 1 2 x 3
        -ERR syntax error
        > GEOADD g 200 2 x
        -ERR invalid longitude,latitude pair 200.000000,2.000000
        > GEOADD g 1 86 x
        -ERR invalid longitude,latitude pair 1.000000,86.000000
        > GEOADD g x 2 x
        -ERR value is not a valid float
        ",
    );
}

#[test]
fn places_and_distances_print_as_redis_prints_them() {
    check(&format!(
        "{SICILY}
        > GEOPOS g Palermo nope
        *2
        *2
        $13.36138933897018433
        $38.11555639549629859
        *-1
        > GEOHASH g Palermo nope
        *2
        $sqc8b49rny0
        $-1
        > GEODIST g Palermo Catania
        $166274.1516
        > GEODIST g Palermo Catania KM
        $166.2742
        > GEODIST g Palermo Palermo
        $0.0000
        > GEODIST g Palermo nope
        $-1
        > GEODIST none a b xx
        -ERR unsupported unit provided. please use M, KM, FT, MI
        "
    ));
    check3(&format!(
        "{SICILY}
        > GEOPOS g Palermo
        *1
        *2
        ,13.36138933897018433
        ,38.11555639549629859
        > GEODIST g Palermo Catania
        $166274.1516
        "
    ));
}

#[test]
fn searches_within_circles_boxes_and_polygons() {
    check(&format!(
        "{SICILY}
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST WITHHASH
        *2
        *3
        $Catania
        $56.4413
        :3479447370796909
        *3
        $Palermo
        $190.4424
        :3479099956230698
        > GEOSEARCH g FROMMEMBER Palermo BYBOX 400 400 km DESC
        *2
        $Catania
        $Palermo
        > GEOSEARCH g BYPOLYGON 3 10 35 10 40 20 38 WITHDIST ASC
        *2
        *2
        $Palermo
        $39684.7805
        *2
        $Catania
        $158578.4289
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1
        *1
        $Catania
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 ANY
        *1
        $Palermo
        > GEORADIUS g 15 37 200 km WITHCOORD COUNT 1
        *1
        *2
        $Catania
        *2
        $15.08726745843887329
        $37.50266842333162032
        > GEORADIUSBYMEMBER_RO g Palermo 1 m
        *1
        $Palermo
        "
    ));
}

#[test]
fn what_searches_do_not_take() {
    check(&format!(
        "{SICILY}
        > GEOSEARCH g FROMLONLAT 15 37 ASC ASC ASC
        -ERR exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for GEOSEARCH
        > GEOSEARCH g BYRADIUS 1 km ASC ASC ASC
        -ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH
        > GEOSEARCH g FROMLONLAT 15 37 FROMMEMBER Palermo BYRADIUS 1 km
        -ERR syntax error
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km BYBOX 1 1 km
        -ERR syntax error
        > GEOSEARCH g FROMLONLAT 15 37 BYPOLYGON 3 10 35 10 40 20 38
        -ERR syntax error
        > GEOSEARCH g BYPOLYGON 3 10 35 10 40 20
        -ERR GEOSEARCH BYPOLYGON must have at least 3 vertices
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS -1 km
        -ERR radius cannot be negative
        > GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 x km
        -ERR need numeric height
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km ANY
        -ERR the ANY argument requires COUNT argument
        > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km COUNT 0
        -ERR COUNT must be > 0
        > GEOSEARCH g FROMMEMBER nope BYRADIUS 1 km
        -ERR member nope does not exist
        > GEOSEARCH none FROMMEMBER nope BYRADIUS 1 km
        *0
        > GEORADIUS_RO g 15 37 200 km STORE d
        -ERR syntax error
        > GEORADIUS g 15 37 200 km WITHDIST STORE d
        -ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options
        > SET s x
        +OK
        > GEOSEARCH s FROMMEMBER nope BYRADIUS 1 km JUNK
        -WRONGTYPE Operation against a key holding the wrong kind of value
        "
    ));
}

#[test]
fn stored_searches_log_what_they_found() {
    check(
        "
        > GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        :2
        effect ZADD g 3479099956230698 Palermo 3479447370796909 Catania
        > GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST
        :1
        effect ZADD d 56.4412578701582 Catania
        > GEORADIUS g 15 37 200 km STORE d
        :2
        effect DEL d
        effect ZADD d 3479099956230698 Palermo 3479447370796909 Catania
        > GEORADIUSBYMEMBER g Palermo 0 m STOREDIST d
        :1
        effect DEL d
        effect ZADD d 0 Palermo
        > GEOSEARCHSTORE d none FROMLONLAT 15 37 BYRADIUS 100 km
        :0
        effect DEL d
        > GEOSEARCHSTORE d none FROMLONLAT 15 37 BYRADIUS 100 km
        :0
        ",
    );
}

#[test]
fn polygons_around_a_pole_are_searched_as_far_as_they_reach() {
    check(
        "
        > GEOADD g -90 -5 south 0 84 north 0 -5 outside 2.35 38.115556 east
        :4
        > GEOSEARCH g BYPOLYGON 5 -100 85 -90 -10 0 85 90 -10 100 85 ASC
        *1
        $south
        > GEOSEARCH g BYPOLYGON 3 179.9999 37.502669 0 37.502669 0 80
        *1
        $east
        ",
    );
}
