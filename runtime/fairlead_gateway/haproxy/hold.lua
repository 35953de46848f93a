-- Holds a request until a replica of its revision is ready. Runs for held requests alone, once in STEP_MS for each.
-- Each line in the request log says what became of one: "H <model> <what> <milliseconds>".

local STEP_MS = 20

-- HAProxy reads nothing more of a client whose request is here whole, so it does not see that one leaves. The kernel
-- does: its table of connections says which clients have closed their side. It is read only while requests are held.
local LEFT_EVERY_MS = 500
local LINES_AT_ONCE = 500
local TABLES = { "/proc/net/tcp", "/proc/net/tcp6" }
local CLOSED_BY_PEER = "08"
-- `looked_ms` is when a held request last looked: it needs no one to count down when HAProxy ends a held request itself.
local left, looked_ms = {}, 0

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + math.floor(now.usec / 1000)
end

local function read_left()
  local found, lines = {}, 0
  for _, name in ipairs(TABLES) do
    local file = io.open(name)
    if file then
      for line in file:lines() do
        local port, client, state = line:match("^ *%d+: %x+:(%x+) (%x+:%x+) (%x%x) ")
        if state == CLOSED_BY_PEER then
          found[port .. " " .. client] = true
        end
        lines = lines + 1
        if lines % LINES_AT_ONCE == 0 then
          core.yield()
        end
      end
      file:close()
    end
  end
  return found
end

core.register_task(function()
  while true do
    left = now_ms() - looked_ms <= LEFT_EVERY_MS and read_left() or {}
    core.msleep(LEFT_EVERY_MS)
  end
end)

-- As the tables write an address: each four bytes from the last to the first.
local function reverse_words(hex)
  return (hex:gsub("(%x%x)(%x%x)(%x%x)(%x%x)", "%4%3%2%1"))
end

-- What the tables may call the connection of a client: one by IPv4 is in either of them.
local function connection_names(txn)
  local address, port = txn:get_var("txn.client_address"), string.format("%04X", txn.f:src_port() or 0)
  if not address then
    return {}
  end
  local own = string.format("%04X ", txn.f:dst_port() or 0)
  local names = { own .. reverse_words(address) .. ":" .. port }
  if #address == 8 then
    names[2] = own .. "0000000000000000FFFF0000" .. reverse_words(address) .. ":" .. port
  end
  return names
end

local function has_left(names)
  for _, name in ipairs(names) do
    if left[name] then
      return true
    end
  end
  return false
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
  local names = connection_names(txn)
  report(txn, "begin", before_ms)
  while held_ms < limit_ms do
    if txn.f:stopping() ~= 0 then
      outcome = "passed"
      break
    end
    looked_ms = now_ms()
    if has_left(names) then
      outcome = "left"
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
