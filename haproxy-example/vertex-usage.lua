-- vertex-usage: what a call has used, read from Google's answer while it passes through. HAProxy 2.6 to 3.4.
--
--     global
--         lua-load-per-thread /etc/haproxy/vertex-usage.lua
--     frontend vertex
--         filter lua.vertex-usage
--
-- Sets, once the answer has ended, those of these variables that Google has named, in tokens; unknown ones stay unset:
--
--     txn.vertex_usage_input     of the prompt, those read from a cache included
--     txn.vertex_usage_output    of the answer, without thoughts
--     txn.vertex_usage_thoughts
--     txn.vertex_usage_cached    of the prompt, those read from a cache
--     txn.vertex_usage_total
--
-- It reads the shapes of Gemini, Anthropic, OpenAI and text embeddings, whole answers and streams. The answer goes on as it comes: the filter
-- holds nothing back and changes nothing. It keeps the beginning of a stream and the end of every answer, so that a long answer costs as
-- much memory and work as a short one, and looks at them once, at the end. An answer that is compressed, is no JSON or is no
-- success is not looked at. Of a stream that was cut the variables tell what Google had said until then.

local HEAD = 4096     -- bytes kept of the beginning of a stream, where Anthropic counts the prompt
local TAIL = 16384    -- bytes kept of the end
local WHOLE = 262144  -- bytes of embeddings, which count each text beside its vector: only the whole answer will do
local PIECES = 64     -- strings that the kept end may consist of
local DIGITS = 15     -- of a number; a larger one is not believed

local find, byte, sub, rev = string.find, string.byte, string.sub, string.reverse

---------------------------------------------------------------------------------------------------------------------------------------
-- JSON. A shape names the members to read; everything else is skipped by its structure. A member's shape is COUNT, the shape of an object,
-- or { [EACH] = shape } for all elements of an array.

local COUNT, EACH = {}, {}
local BAD = {} -- the error of a text that is no JSON

local NEWLINE, RETURN, QUOTE, BACKSLASH, COMMA, COLON = 0x0A, 0x0D, 0x22, 0x5C, 0x2C, 0x3A
local OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = 0x7B, 0x7D, 0x5B, 0x5D

-- past_space returns the index of the first byte from i on that is no white space, and that byte.
local function past_space(s, i)
    i = find(s, "[^ \t\r\n]", i)
    if not i then error(BAD, 0) end
    return i, byte(s, i)
end

-- past_string returns the index after the string that begins at i.
local function past_string(s, i)
    local from = i + 1
    while true do
        local quote = find(s, '"', from, true)
        if not quote then error(BAD, 0) end
        local before = quote - 1
        while byte(s, before) == BACKSLASH do before = before - 1 end
        if (quote - before) % 2 == 1 then return quote + 1 end -- an even number of backslashes: it is not escaped
        from = quote + 1
    end
end

-- past_container returns the index after the object or array that begins at i.
local function past_container(s, i)
    local depth = 0
    repeat
        local _, last = find(s, "^[%w%s,.:+-]*", i)
        i = last + 1
        local c = byte(s, i)
        if c == QUOTE then
            i = past_string(s, i)
        elseif c == OPEN or c == OPEN_LIST then
            depth, i = depth + 1, i + 1
        elseif c == CLOSE or c == CLOSE_LIST then
            depth, i = depth - 1, i + 1
        else
            error(BAD, 0)
        end
    until depth == 0
    return i
end

-- past_numbers returns the index after the array that begins at i if there are only numbers in it, else nil. A vector is long, and this is
-- quicker.
local function past_numbers(s, i)
    if not find(s, "^%s*[%d-]", i + 1) then return nil end
    local last = find(s, "]", i, true)
    local inside = last and sub(s, i + 1, last - 1)
    if not inside or find(inside, '"', 1, true) or find(inside, "[", 1, true) or find(inside, "{", 1, true) then return nil end
    return last + 1
end

-- past_value returns the index after the value that begins at i with the byte c.
local function past_value(s, i, c)
    if c == QUOTE then return past_string(s, i) end
    if c == OPEN then return past_container(s, i) end
    if c == OPEN_LIST then return past_numbers(s, i) or past_container(s, i) end
    local _, last = find(s, "^[%w.+-]+", i)
    if not last then error(BAD, 0) end
    return last + 1
end

-- count returns the number that a scalar is, or nil: fractions, exponents, signs and strings are none.
local function count(scalar)
    if #scalar <= DIGITS and find(scalar, "^%d+$") then return math.tointeger(tonumber(scalar)) end
end

local read -- of a value, by its shape

-- read_members reads the object whose brace stands at i.
local function read_members(s, i, shape)
    local members, c = {}, nil
    i, c = past_space(s, i + 1)
    if c == CLOSE then return members, i + 1 end
    while true do
        if c ~= QUOTE then error(BAD, 0) end
        local after = past_string(s, i)
        local name = sub(s, i + 1, after - 2)
        i, c = past_space(s, after)
        if c ~= COLON then error(BAD, 0) end
        i = past_space(s, i + 1)
        members[name], i = read(s, i, shape[name])
        i, c = past_space(s, i)
        if c == CLOSE then return members, i + 1 end
        if c ~= COMMA then error(BAD, 0) end
        i, c = past_space(s, i + 1)
    end
end

-- read_elements reads the array whose bracket stands at i. An element of another shape is false.
local function read_elements(s, i, shape)
    local elements, c = {}, nil
    i, c = past_space(s, i + 1)
    if c == CLOSE_LIST then return elements, i + 1 end
    while true do
        local element
        element, i = read(s, i, shape)
        elements[#elements + 1] = element or false
        i, c = past_space(s, i)
        if c == CLOSE_LIST then return elements, i + 1 end
        if c ~= COMMA then error(BAD, 0) end
        i = past_space(s, i + 1)
    end
end

-- read returns the value that begins at i, nil if it is not of the shape, and the index after it.
function read(s, i, shape)
    local c = byte(s, i)
    if shape and c == OPEN_LIST and shape[EACH] then return read_elements(s, i, shape[EACH]) end
    if shape and c == OPEN and shape ~= COUNT and not shape[EACH] then return read_members(s, i, shape) end
    local after = past_value(s, i, c)
    if shape == COUNT then return count(sub(s, i, after - 1)), after end
    return nil, after
end

-- document returns the members of a text that is one JSON object and nothing else, or nil.
local function document(s, shape)
    local ok, members = pcall(function()
        local i, c = past_space(s, 1)
        if c ~= OPEN then return nil end
        local found, after = read_members(s, i, shape)
        return not find(s, "[^ \t\r\n]", after) and found or nil
    end)
    return ok and members or nil
end

-- last_members returns those of the shape's members that stand at the end of a text, the end of a JSON object, or of an array of them, whose
-- beginning may be missing. Read backwards, a string is as easy to tell from what is outside of it as forwards: in it, each quote
-- has a backslash before it. The members of another shape are left out. Nothing is known, and {} returned, where the text is no such end.
local function last_members(s, shape)
    local r = rev(s)
    local members = {}

    -- The places are those of the reversed text, where a string, an object or an array begins with what ends it.
    local function past_reversed_string(i)
        while true do
            i = find(r, '"', i + 1, true)
            if not i then error(BAD, 0) end
            local _, last = find(r, "^\\*", i + 1)
            if (last - i) % 2 == 0 then return i + 1 end
        end
    end
    local function past_reversed_value(i, c)
        if c == QUOTE then return past_reversed_string(i) end
        if c ~= CLOSE and c ~= CLOSE_LIST then return past_value(r, i, c) end
        local depth = 0
        repeat
            local _, last = find(r, "^[%w%s,.:+-]*", i)
            i = last + 1
            c = byte(r, i)
            if c == QUOTE then
                i = past_reversed_string(i)
            elseif c == CLOSE or c == CLOSE_LIST then
                depth, i = depth + 1, i + 1
            elseif c == OPEN or c == OPEN_LIST then
                depth, i = depth - 1, i + 1
            else
                error(BAD, 0)
            end
        until depth == 0
        return i
    end

    pcall(function()
        local i, c = past_space(r, 1)
        if c == CLOSE_LIST then i, c = past_space(r, i + 1) end
        if c ~= CLOSE then return end
        i, c = past_space(r, i + 1)
        while c ~= OPEN do
            local value, after = i, past_reversed_value(i, c)
            i, c = past_space(r, after)
            if c ~= COLON then return end
            i, c = past_space(r, i + 1)
            if c ~= QUOTE then return end
            local behind = past_reversed_string(i)
            local name = rev(sub(r, i + 1, behind - 2))
            if shape[name] and members[name] == nil then
                members[name] = read(rev(sub(r, value, after - 1)), 1, shape[name]) or false
            end
            i, c = past_space(r, behind)
            if c == COMMA then
                i, c = past_space(r, i + 1)
            elseif c ~= OPEN then
                return
            end
        end
    end)
    return members
end

---------------------------------------------------------------------------------------------------------------------------------------
-- The shapes of usage.

local GEMINI = {
    promptTokenCount = COUNT, candidatesTokenCount = COUNT, thoughtsTokenCount = COUNT, cachedContentTokenCount = COUNT, totalTokenCount = COUNT,
}
local USAGE = { -- Anthropic's and OpenAI's
    input_tokens = COUNT, output_tokens = COUNT, cache_read_input_tokens = COUNT, cache_creation_input_tokens = COUNT,
    prompt_tokens = COUNT, completion_tokens = COUNT, total_tokens = COUNT,
    prompt_tokens_details = { cached_tokens = COUNT }, completion_tokens_details = { reasoning_tokens = COUNT },
}
local EMBEDDING = { embeddings = { statistics = { token_count = COUNT } } }
local ANSWER = { usageMetadata = GEMINI, usage = USAGE, predictions = { [EACH] = EMBEDDING } }
local EVENT = { usageMetadata = GEMINI, usage = USAGE }
local START = { message = { usage = USAGE } } -- Anthropic's message_start

local function of_gemini(u)
    return {
        input = u.promptTokenCount, output = u.candidatesTokenCount, thoughts = u.thoughtsTokenCount, cached = u.cachedContentTokenCount,
        total = u.totalTokenCount,
    }
end

-- of_anthropic adds up the prompt: Anthropic counts what it reads from and writes to a cache on its own.
local function of_anthropic(u)
    local input = u.input_tokens
    if input then input = input + (u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0) end
    return { input = input, output = u.output_tokens, cached = u.cache_read_input_tokens }
end

-- of_openai takes the thoughts out of the answer where the total says that they were counted with it.
local function of_openai(u)
    local output, thoughts = u.completion_tokens, u.completion_tokens_details and u.completion_tokens_details.reasoning_tokens
    if output and thoughts and thoughts <= output and u.prompt_tokens and u.total_tokens == u.prompt_tokens + output then
        output = output - thoughts
    end
    return {
        input = u.prompt_tokens, output = output, thoughts = thoughts, total = u.total_tokens,
        cached = u.prompt_tokens_details and u.prompt_tokens_details.cached_tokens,
    }
end

-- usage_of returns what the members of an answer or of an event say, or nil if they name no number.
local function usage_of(members)
    local found
    if members.usageMetadata then
        found = of_gemini(members.usageMetadata)
    elseif members.usage then
        local u = members.usage
        found = (u.input_tokens or u.output_tokens) and of_anthropic(u) or of_openai(u)
    end
    return found and next(found) and found or nil
end

-- usage_of_embeddings returns the sum over all texts, or nil if one of them is not counted.
local function usage_of_embeddings(members)
    local sum = 0
    for _, p in ipairs(members.predictions or {}) do
        local tokens = p and p.embeddings and p.embeddings.statistics and p.embeddings.statistics.token_count
        if not tokens then return nil end
        sum = sum + tokens
    end
    return members.predictions and #members.predictions > 0 and { input = sum } or nil
end

---------------------------------------------------------------------------------------------------------------------------------------
-- Answers and streams.

-- mentions tells whether it is worth the while to read a text.
local function mentions(s) return find(s, '"usage', 1, true) ~= nil end

-- of_json returns the usage of an answer, given its end; whole if that is all of it, and ended if it came to its end.
local function of_json(s, whole, ended)
    if whole then
        local members = document(s, ANSWER)
        if members then return usage_of(members) or usage_of_embeddings(members) end
    end
    if ended and mentions(s) then return usage_of(last_members(s, EVENT)) end
end

-- last_events iterates over the data of the events of a part of a stream, the last event first. With true comes the line that begins before
-- the part, as much as there is of it.
local function last_events(s, whole)
    if not find(s, "\n", 1, true) then s = string.gsub(s, "\r", "\n") end
    local r, at = rev(s), 1
    return function()
        local data
        while at <= #r do
            local newline = find(r, "\n", at, true) or #r + 1
            local line = sub(s, #s - newline + 2, #s - at + 1)
            at = newline + 1
            if newline > #r and not whole then
                if data then return nil end -- an event in several lines whose first ones are not there
                return line, true
            end
            if byte(line, -1) == RETURN then line = sub(line, 1, -2) end
            local text = string.match(line, "^data: ?(.*)$")
            if text then data = data and text .. "\n" .. data or text end
            if line == "" and data then break end
        end
        return data, false
    end
end

-- of_end returns what the last event that says something says. Where the end is cut out of a long event, that one is read backwards.
local function of_end(s, whole, ended)
    if not mentions(s) then return nil end
    for data, cut in last_events(s, whole) do
        local members
        if not mentions(data) then
            members = nil
        elseif not cut then
            members = document(data, EVENT)
        elseif ended or byte(s, -1) == NEWLINE then
            members = last_members(data, EVENT)
        end
        local found = members and usage_of(members)
        if found then return found end
    end
end

-- of_start returns the usage of Anthropic's first event without the answer, which has only begun there.
local function of_start(head)
    if not find(head, '"message"', 1, true) then return nil end
    for data in string.gmatch(head, "data: ?([^\r\n]+)") do
        local members = mentions(data) and document(data, START)
        local u = members and members.message and members.message.usage
        if u then
            local found = of_anthropic(u)
            found.output = nil
            return found
        end
    end
end

local function of_stream(head, s, whole, ended)
    local found = of_end(s, whole, ended) or {}
    for name, tokens in pairs(of_start(head) or {}) do
        if not found[name] then found[name] = tokens end
    end
    return found
end

---------------------------------------------------------------------------------------------------------------------------------------
-- The filter. An error in it would end the answer: everything that could have one runs under pcall, and then nothing is known.

local Usage = { id = "vertex-usage", flags = filter.FLT_CFG_FL_HTX }
Usage.__index = Usage

function Usage:new() return setmetatable({}, Usage) end

local told = false

-- try calls a method, and gives the answer up if that fails.
local function try(self, method, ...)
    local ok, message = pcall(method, self, ...)
    if ok then return end
    self.pieces = nil
    if not told then
        told = true
        pcall(core.log, core.warning, "vertex-usage: " .. tostring(message))
    end
end

-- begin looks whether the answer is one to be read.
local function begin(self, txn, msg)
    if not msg.channel:is_resp() or tonumber(msg:get_stline().code) ~= 200 then return end
    local kind, encoding = string.lower(txn.sf:res_fhdr("content-type")), string.lower(txn.sf:res_fhdr("content-encoding"))
    self.stream = find(kind, "^text/event%-stream") ~= nil
    if not self.stream and not find(kind, "^application/json") or encoding ~= "" and encoding ~= "identity" then return end
    local embeddings = find(txn:get_var("txn.vertex.uri") or "", ":predict$")
    self.head, self.keep, self.total, self.ended = "", embeddings and WHOLE or TAIL, 0, false
    self.pieces, self.size = {}, 0
    filter.register_data_filter(self, msg.channel)
end

-- pack makes one piece of what is kept, of the length that is needed.
local function pack(self)
    local s = sub(table.concat(self.pieces), -self.keep)
    self.pieces, self.size = { s }, #s
end

-- take keeps what has come. At most twice self.keep bytes and one piece more are kept.
local function take(self, msg)
    local n = self.pieces and msg:input() or 0
    if n <= 0 then return end
    if self.stream and #self.head < HEAD then self.head = self.head .. (msg:body(0, HEAD - #self.head) or "") end
    local piece = (n > self.keep and msg:body(-self.keep) or msg:body()) or ""
    self.total = self.total + n
    self.pieces[#self.pieces + 1] = piece
    self.size = self.size + #piece
    if self.total > self.keep then self.keep = TAIL end -- embeddings were not kept whole, and what is left need not be long
    if self.size > 2 * self.keep or #self.pieces >= PIECES then pack(self) end
end

-- finish tells what was found.
local function finish(self, txn)
    if not self.pieces then return end
    pack(self)
    local s, whole = self.pieces[1], self.total <= self.keep
    self.pieces = nil
    local found
    if self.stream then
        found = of_stream(self.head, s, whole, self.ended)
    else
        found = of_json(s, whole, self.ended)
    end
    for name, tokens in pairs(found or {}) do txn:set_var("txn.vertex_usage_" .. name, tokens, true) end
end

function Usage:http_headers(txn, msg) try(self, begin, txn, msg) end

function Usage:http_payload(_, msg) try(self, take, msg) end

function Usage:http_end(_, msg)
    if self.pieces and msg.channel:is_resp() then self.ended = true end
end

-- end_analyze comes at the end of every answer, before the line of the log, also when it was cut.
function Usage:end_analyze(txn, channel)
    if self.pieces and channel:is_resp() then try(self, finish, txn) end
end

core.register_filter("vertex-usage", Usage, function(self, _) return self end)
