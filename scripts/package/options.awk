# Reads the options in the output of --help and prints one a line, tab-separated:
# short, long, value, text. An empty field is "-". An option that begins a line has a
# gap of two blanks before its text, which continues on lines that begin with twenty.

BEGIN { OFS = "\t" }
function flush() {
    if (long != "-") print short, long, value, text
    long = "-"
}
BEGIN { long = "-" }
/^ +(-[A-Za-z], )?--[a-z]/ {
    flush()
    line = $0
    sub(/^ +/, "", line)
    text = "-"
    if (match(line, /  +/)) {
        text = substr(line, RSTART + RLENGTH)
        line = substr(line, 1, RSTART - 1)
    }
    short = value = "-"
    if (line ~ /^-[A-Za-z], /) {
        short = substr(line, 2, 1)
        line = substr(line, 5)
    }
    count = split(line, word, " ")
    long = substr(word[1], 3)
    if (count > 1) value = word[2]
    next
}
/^                    / && long != "-" {
    sub(/^ +/, "")
    text = (text == "-" ? "" : text " ") $0
    next
}
{ flush() }
END { flush() }
