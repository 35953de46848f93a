"""How often HAProxy calls its Lua."""

from __future__ import annotations

COUNTING = """
local register_fetches, register_converters = core.register_fetches, core.register_converters
local function count(read)
  return function(...)
    local file = io.open("reached", "a")
    file:write("x")
    file:close()
    return read(...)
  end
end
core.register_fetches = function(name, read) register_fetches(name, count(read)) end
core.register_converters = function(name, read) register_converters(name, count(read)) end
"""
"""Before a script of HAProxy: a letter in the file `reached` for each call of a fetch or a converter."""
