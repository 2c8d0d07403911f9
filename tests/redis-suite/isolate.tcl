# Sourced at the end of the suite's own tests/test_helper.tcl (in a private copy of its folder), so that a command the
# server does not have yet fails the test that uses it and not the whole unit:
#
# 1. A unit's file and the bodies of start_server and tags run command by command; an error outside of any test is
#    reported under the name "outside a test: ..." and the next command runs.
# 2. A test that ends in an error gets a fresh connection afterwards, because replies may still be on their way.
# 3. Every test is announced before it runs, so that the runner knows which one hangs.
# 4. A server that ends during its start is an error at once, instead of after two minutes of waiting.
# 5. A list that the suite (7.0) expects to be a quicklist may be a listpack, which small lists are since Redis 7.2.

proc isolated {code} {
    set command ""
    foreach line [split $code "\n"] {
        append command $line "\n"
        # A backslash at the end of a line goes on with the next one, which `info complete` does not see.
        if {[regexp {(^|[^\\])(\\\\)*\\$} $line] || ![info complete $command]} continue
        set status [catch {uplevel 1 $command} message options]
        if {$status == 1} {
            set first [string trim $command]
            set first [regsub -all {\s+} [string range $first 0 79] " "]
            incr ::num_failed
            send_data_packet $::test_server_fd err "outside a test: $first in $::curfile\n$message"
            catch {reconnect}
        } elseif {$status != 0} {
            return -code $status $message
        }
        set command ""
    }
    if {[string trim $command] ne ""} { uplevel 1 $command }
}

rename start_server suite_start_server
proc start_server {options {code undefined}} {
    if {$code ne "undefined"} { set code [list isolated $code] }
    uplevel 1 [list suite_start_server $options $code]
}

rename tags suite_tags
proc tags {tags code} {
    uplevel 1 [list suite_tags $tags [list isolated $code]]
}

rename test suite_test
proc test {name code {okpattern undefined} {tags {}}} {
    puts "\[testing\]: $name in $::curfile"
    flush stdout
    set failed_before $::num_failed
    set ended [catch {uplevel 1 [list suite_test $name $code $okpattern $tags]} message]
    if {$ended} {
        incr ::num_failed
        send_data_packet $::test_server_fd err "$name in $::curfile\n(ended with code $ended) $message"
    }
    if {$::num_failed != $failed_before && [llength $::servers] > 0} {
        if {![is_alive [lindex $::servers end]]} {
            puts "the server died in: $name in $::curfile"
            flush stdout
            catch {restart_server 0 true false}
        }
        catch {r reset}
        catch {reconnect}
        # What a failed test may leave behind and the next one does not expect.
        catch {r config set appendonly no}
        catch {r debug set-active-expire 1}
    }
}

proc execute_test_file {name} {
    set path "tests/$name.tcl"
    set ::curfile $path
    set file [open $path r]
    set code [read $file]
    close $file
    uplevel #0 [list isolated $code]
    send_data_packet $::test_server_fd done "$name"
}

proc wait_server_started {config_file stdout pid} {
    while 1 {
        set log [exec cat $stdout]
        # Redis tells its process when it has its ports, we when we begin.
        if {[regexp -- " PID: $pid" $log] && [regexp {Server initialized} $log]} { return 0 }
        if {[regexp {Failed listening on port} $log]} { return 1 }
        if {[catch {exec kill -0 $pid}]} {
            error "the server ended during its start: [exec tail -n 3 $stdout] [exec tail -n 3 [file dirname $stdout]/stderr]"
        }
        after 20
    }
}

rename assert_encoding suite_assert_encoding
proc assert_encoding {enc key} {
    if {$enc eq "quicklist" && [r object encoding $key] eq "listpack"} return
    uplevel 1 [list suite_assert_encoding $enc $key]
}
