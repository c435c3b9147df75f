# Flattens a JSON document: a line "path<TAB>value" for each scalar, such as "networks.0.ip_address<TAB>10.0.0.5".
# Layout and order of the document do not matter. In values, a backslash, tab or line end is written \\, \t or \n.
{ text = text $0 "\n" }

END {
    depth = 0
    while (match(text, /"([^"\\]|\\.)*"|[][{}:,]|[^][{}:," \t\r\n]+/)) {
        token = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (token == "{") { kind[++depth] = "object"; key[depth] = ""; is_key[depth] = 1 }
        else if (token == "[") { kind[++depth] = "array"; key[depth] = 0 }
        else if (token == "}" || token == "]") depth--
        else if (token == ":") is_key[depth] = 0
        else if (token == ",") { if (kind[depth] == "array") key[depth]++; else is_key[depth] = 1 }
        else if (kind[depth] == "object" && is_key[depth]) key[depth] = plain(token)
        else print path() "\t" plain(token)
    }
}

function path(    i, joined) {
    joined = key[1]
    for (i = 2; i <= depth; i++) joined = joined "." key[i]
    return joined
}

# The text of a token; what a line cannot hold stays escaped.
function plain(token,    out, c) {
    if (substr(token, 1, 1) != "\"") return token
    token = substr(token, 2, length(token) - 2)
    out = ""
    while (match(token, /\\/)) {
        out = out substr(token, 1, RSTART - 1)
        c = substr(token, RSTART + 1, 1)
        token = substr(token, RSTART + 2)
        if (c == "u") { out = out utf8(hex(substr(token, 1, 4))); token = substr(token, 5) }
        else if (c == "\\" || c == "n" || c == "t") out = out "\\" c
        else if (c == "\"" || c == "/") out = out c
        # \r, \b and \f: nothing here is the better for them
    }
    return out token
}

function hex(digits,    i, number) {
    number = 0
    for (i = 1; i <= length(digits); i++) number = number * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return number
}

function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
}
