# Applies a pattern file to log lines the way Symbiosis and Sympl do, in their
# language. Usage: engine.rb PATTERN-FILE < LINES
# For every line of the input one line of output: "INDEX ADDRESS" for each
# pattern that matches, separated by tabs.
patterns = []
log = ports = nil
File.readlines(ARGV[0]).each do |line|
  line = line.strip
  next if line.empty? || line.start_with?("#")
  if log.nil? && line =~ /^file\s*=\s*(.*)/
    log = $1
  elsif ports.nil? && line =~ /^ports\s*=\s*(.*)/
    ports = $1
  else
    line = line.gsub("__IP__") { '(?:::ffff:)?([0-9a-fA-F:.]+(?:/[0-9]+)?)' }
    line += "$" unless line.start_with?("^") || line.end_with?("$")
    patterns << Regexp.new(line)
  end
end
$stdin.binmode
out = []
while (line = $stdin.gets("\n"))
  # What is not UTF-8 loses its eight-bit bytes before the patterns see it.
  line.force_encoding(Encoding::UTF_8)
  unless line.valid_encoding?
    line = line.force_encoding(Encoding::ASCII_8BIT)
               .encode(Encoding::UTF_8, invalid: :replace, undef: :replace, replace: "")
  end
  hits = []
  patterns.each_with_index do |p, i|
    m = p.match(line)
    hits << "#{i} #{m[1]}" if m
  end
  out << hits.join("\t")
end
puts out
