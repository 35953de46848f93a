-- Reads the two JSON objects of a JSON Web Token, and judges its claims by the rules that this file is loaded with.
-- HAProxy's own `json_query` takes the first of two members with one name, reads 4e9 as 4, and reads neither a list nor
-- `\/` in a text. So these objects are read whole: what a strict parser refuses, or two parsers could read in two ways,
-- is refused.

local DEPTH_MAX = 16
local DATE_MAX = 253402300799 -- the end of the year 9999
local SUBJECT_BYTES_MAX = 255
local OBJECT, NULL = {}, {} -- what stands for an object within an object, and for null
local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local WORDS = { { "true", true }, { "false", false }, { "null", NULL } }

-- The rules, each as NAME=VALUE. Of a claim: its name, and the values that it may have, with spaces between them.
local issuer, skew_s, audiences, requirements = nil, 0, {}, {}
for _, text in ipairs(table.pack(...)) do
  local name, value = text:match("^(%l+)=(.*)$")
  if name == "issuer" then
    issuer = value
  elseif name == "skew" then
    skew_s = tonumber(value)
  elseif name == "audience" then
    audiences[value] = true
  elseif name == "claim" then
    local claim, listed = value:match("^(%S+) (.*)$")
    local values = {}
    for each in listed:gmatch("%S+") do
      values[each] = true
    end
    table.insert(requirements, { name = claim, values = values })
  end
end

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local QUOTE, COMMA, COLON = byte('"'), byte(","), byte(":")
local OPENED, CLOSED, LIST, LIST_END = byte("{"), byte("}"), byte("["), byte("]")

local function skip_space(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local function read_character(text, at)
  local code = tonumber(match(text, "^u(%x%x%x%x)", at) or error("escape"), 16)
  at = at + 5
  if code >= 0xDC00 and code <= 0xDFFF then
    error("surrogate")
  elseif code >= 0xD800 and code <= 0xDBFF then
    local low = tonumber(match(text, "^\\u(%x%x%x%x)", at) or error("surrogate"), 16)
    if low < 0xDC00 or low > 0xDFFF then
      error("surrogate")
    end
    code, at = 0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00, at + 6
  end
  return utf8.char(code), at
end

-- Each reader gets the place of the first character, and returns the value and the place after it.
local function read_string(text, at)
  local from, parts = at + 1, nil
  while true do
    local stop = find(text, '["\\\0-\31]', from) or error("string")
    local piece, found = sub(text, from, stop - 1), sub(text, stop, stop)
    if found == '"' then
      return parts and table.concat(parts) .. piece or piece, stop + 1
    elseif found ~= "\\" then
      error("control character")
    end
    parts = parts or {}
    parts[#parts + 1] = piece
    local plain = ESCAPES[sub(text, stop + 1, stop + 1)]
    if plain then
      parts[#parts + 1], from = plain, stop + 2
    else
      parts[#parts + 1], from = read_character(text, stop + 1)
    end
  end
end

local function read_number(text, at)
  local stop = select(2, find(text, "^-?[1-9]%d*", at)) or select(2, find(text, "^-?0", at)) or error("number")
  stop = select(2, find(text, "^%.%d+", stop + 1)) or stop
  stop = select(2, find(text, "^[eE][+-]?%d+", stop + 1)) or stop
  return tonumber(sub(text, at, stop)), stop + 1
end

local read_value

-- The members of an object by their names.
local function read_object(text, at, depth)
  local members, name = {}, nil
  at = skip_space(text, at + 1)
  if byte(text, at) == CLOSED then
    return members, at + 1
  end
  while true do
    if byte(text, at) ~= QUOTE then
      error("name")
    end
    name, at = read_string(text, at)
    at = skip_space(text, at)
    if byte(text, at) ~= COLON or members[name] ~= nil then
      error("member")
    end
    members[name], at = read_value(text, skip_space(text, at + 1), depth + 1)
    at = skip_space(text, at)
    local found = byte(text, at)
    if found == CLOSED then
      return members, at + 1
    elseif found ~= COMMA then
      error("object")
    end
    at = skip_space(text, at + 1)
  end
end

local function read_list(text, at, depth)
  local list = {}
  at = skip_space(text, at + 1)
  if byte(text, at) == LIST_END then
    return list, at + 1
  end
  while true do
    list[#list + 1], at = read_value(text, at, depth + 1)
    at = skip_space(text, at)
    local found = byte(text, at)
    if found == LIST_END then
      return list, at + 1
    elseif found ~= COMMA then
      error("list")
    end
    at = skip_space(text, at + 1)
  end
end

read_value = function(text, at, depth)
  if depth > DEPTH_MAX then
    error("depth")
  end
  local first = byte(text, at)
  if first == QUOTE then
    return read_string(text, at)
  elseif first == OPENED then
    local _, stop = read_object(text, at, depth)
    return OBJECT, stop
  elseif first == LIST then
    return read_list(text, at, depth)
  end
  for _, word in ipairs(WORDS) do
    if sub(text, at, at + #word[1] - 1) == word[1] then
      return word[2], at + #word[1]
    end
  end
  return read_number(text, at)
end

local function read_whole(text)
  local at = skip_space(text, 1)
  if byte(text, at) ~= OPENED or not utf8.len(text) then
    error("no object")
  end
  local members, stop = read_object(text, at, 1)
  if skip_space(text, stop) <= #text then
    error("more than an object")
  end
  return members
end

-- Whether a claim is one of the strings, or a list with one of them.
local function has_one(claim, strings)
  if type(claim) ~= "table" then
    return type(claim) == "string" and strings[claim] == true
  end
  for _, each in ipairs(claim) do
    if type(each) == "string" and strings[each] then
      return true
    end
  end
  return false
end

local function meets(claims, requirement)
  local claim = claims[requirement.name]
  if requirement.name == "scope" and type(claim) == "string" then
    local scopes = {}
    for each in claim:gmatch("[^ ]+") do
      table.insert(scopes, each)
    end
    claim = scopes
  end
  return has_one(claim, requirement.values)
end

local function is_date(value)
  return type(value) == "number" and value >= 0 and value <= DATE_MAX
end

-- What the header lacks, or nil. HAProxy found the key by `named`, which is ALGORITHM/KID as it reads the header.
local function judge_header(header, named)
  local algorithm, kid, kind = header.alg, header.kid, header.typ
  if header.crit ~= nil or type(algorithm) ~= "string" or not algorithm:match("^[EPR]S%d%d%d$") then
    return "algorithm"
  end
  if kind ~= nil then
    kind = type(kind) == "string" and kind:lower():gsub("^application/", "") or ""
    if kind ~= "jwt" and kind ~= "at+jwt" then
      return "kind"
    end
  end
  if type(kid) ~= "string" or #kid > 128 or not kid:match("^[A-Za-z0-9._~:/+=@-]+$") then
    return "kid"
  end
  return algorithm .. "/" .. kid ~= named and "key" or nil
end

-- The client as sub:NAME, or what the token lacks.
local function judge_claims(claims)
  local now, subject = os.time(), claims.sub
  if not is_date(claims.exp) or (claims.nbf ~= nil and not is_date(claims.nbf)) then
    return "dates"
  elseif now >= claims.exp + skew_s then
    return "expired"
  elseif claims.nbf ~= nil and now < claims.nbf - skew_s then
    return "early"
  elseif claims.iss ~= issuer then
    return "issuer"
  elseif not has_one(claims.aud, audiences) then
    return "audience"
  elseif type(subject) ~= "string" or #subject > SUBJECT_BYTES_MAX or not subject:match("^[^\0-\31\127]+$") then
    return "subject"
  end
  for _, requirement in ipairs(requirements) do
    if not meets(claims, requirement) then
      return "claim"
    end
  end
  return "sub:" .. subject
end

-- Runs for a token whose signature is right. The parts are decoded here and not before: HAProxy hands Lua a text, and
-- takes bytes as a text up to the first NUL.
core.register_fetches("token", function(txn)
  local head, body = match(txn:get_var("txn.token"), "^([^.]+)%.([^.]+)%.")
  local is_header, header = pcall(read_whole, txn.c:ub64dec(head))
  local is_object, claims = pcall(read_whole, txn.c:ub64dec(body))
  if not is_header or not is_object then
    return "form"
  end
  return judge_header(header, txn:get_var("txn.token_id")) or judge_claims(claims)
end)
