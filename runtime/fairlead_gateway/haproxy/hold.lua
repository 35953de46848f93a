-- Holds a request until a replica of its revision is ready. Runs for held requests alone, once in STEP_MS for each.
-- Each line in the request log says what became of one: "H <model> <what> <milliseconds>".

local STEP_MS = 20

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + math.floor(now.usec / 1000)
end

local function report(txn, what, held_ms)
  txn:log(core.notice, string.format("H %s %s %d", txn:get_var("txn.model"), what, held_ms))
end

core.register_action("hold", { "http-req" }, function(txn)
  local place = "p" .. txn:get_var("txn.place")
  local parallel = txn:get_var("txn.hold_parallel")
  local before_ms = math.max(0, txn:get_var("txn.held_ms") or 0)
  local began_ms = now_ms() - before_ms
  local limit_ms = txn:get_var("txn.hold_ms")
  local held_ms, up_ms, outcome = before_ms, nil, "timeout"
  report(txn, "begin", before_ms)
  while held_ms < limit_ms do
    if txn.f:stopping() ~= 0 then
      outcome = "passed"
      break
    end
    if txn.c:nbsrv(place) > 0 then
      -- A replica that has just started gets no more requests at a time than it runs. New requests go straight to it and
      -- may keep it full, so with each second that this one waits beside it, it may have as many more.
      up_ms = up_ms or held_ms
      if txn.f:be_conn(place) < parallel * (1 + (held_ms - up_ms) / 1000) then
        outcome = "released"
        break
      end
    else
      up_ms = nil
    end
    core.msleep(STEP_MS)
    held_ms = now_ms() - began_ms
  end
  txn:set_var("txn.hold_end", outcome)
  txn:set_var("txn.held_ms", held_ms)
  report(txn, outcome, held_ms)
end)

core.register_action("refuse", { "http-req" }, function(txn)
  report(txn, "refused", 0)
end)
