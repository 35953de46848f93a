"""HAProxy's answers, as it gave them, parsed."""

from __future__ import annotations

from fairlead_gateway.haproxy import observed

PROC = """#<PID>          <type>          <reloads>       <uptime>        <version>      
23523           master          2 [failed: 0]   0d00h00m20s     2.8.25-5cf5d0683
# workers
24500           worker          0               0d00h00m00s     2.8.25-5cf5d0683
# old workers
23677           worker          1               0d00h00m11s     2.8.25-5cf5d0683
23600           worker          2               0d00h00m19s     2.8.25-5cf5d0683
# programs

"""

SERVERS = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state
3 handover 1 self - 2 0 1 1 4 1 0 2 0 0 0 0 - 0 - 0 0 - - 0
4 p0001 1 a-1 127.0.0.1 2 0 1 1 4 15 3 3 6 0 0 0 - 18091 - 0 0 - - 0
4 p0001 2 a-2 127.0.0.1 0 5 1 1 4 1 0 0 14 0 0 0 - 18092 - 0 0 - - 0
4 p0001 3 a-3 127.0.0.1 3 4 1 1 4 16 3 3 6 0 0 0 - 18093 - 0 0 - - 0
5 f0001 4 a-4 127.0.0.1 2 8 1 1 4 15 3 3 6 0 0 0 - 18094 - 0 0 - - 0
"""


def test_the_master_lists_the_current_worker_and_the_replaced_ones() -> None:
    assert observed.parse_processes(PROC) == observed.Processes(master=23523, worker=24500, old_workers=(23677, 23600))
    assert observed.parse_processes("") == observed.Processes(master=None, worker=None, old_workers=())


def test_the_states_of_servers_are_parsed() -> None:
    servers = observed.parse_servers(SERVERS)

    assert set(servers) == {("p0001", "a-1"), ("p0001", "a-2"), ("p0001", "a-3"), ("f0001", "a-4")}
    up, off, draining = (servers["p0001", name] for name in ("a-1", "a-2", "a-3"))
    assert (up.is_up, up.is_draining, up.is_checked, up.port) == (True, False, True, 18091)
    assert (off.is_up, off.is_enabled, off.is_checked) == (False, False, False)
    assert (draining.is_up, draining.is_draining, draining.is_enabled) == (False, True, True)
    server = servers["f0001", "a-4"]
    assert (server.is_up, server.is_draining, server.is_drained) == (False, True, True)


def test_the_addresses_of_map_entries_are_left_out() -> None:
    text = "0x3f6ca850 a x:y:100:v:1000:30000\n0x362e70b0 /ready 1\n\n"

    assert observed.parse_map(text) == {"a": "x:y:100:v:1000:30000", "/ready": "1"}
    assert observed.parse_map("Unknown map identifier. Please use #<id> or <file>.\n") == {}


def test_requests_in_flight_are_summed_over_both_backends_of_a_place() -> None:
    text = "# pxname,svname,qcur,qmax,scur,smax,slim\n" + "".join(
        f"{backend},BACKEND,0,0,{count},9,1\n"
        for backend, count in (("p0001", 7), ("f0001", 2), ("p0002", 0), ("handover", 3), ("p00", 1))
    )

    assert observed.parse_sessions(text) == {1: 9}


def test_the_info_answer_is_parsed_into_pairs() -> None:
    assert observed.parse_info("Pid: 5\ndescription: abc\n\nnothing\n") == {"Pid": "5", "description": "abc"}
