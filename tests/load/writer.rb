# The firewall's scan, as far as the count database sees it: the statements of
# the platform's writer, through the same library. A scan opens the file anew,
# as a process started by cron does.
#
#   ruby writer.rb FILE
#
# Each line of standard input asks for one scan and says how many milliseconds
# it may wait for a lock; the firewall's own writer waits for none. The answer
# is a line: the sum that has been counted for 203.0.113.1, the longest time in
# milliseconds that one statement took, and "done", or "busy" when a statement
# met another program's lock, of which the firewall's scan would have died.
require "sqlite3"

$stdout.sync = true
counted = 0
$stdin.each_line do |line|
  longest = 0
  timed = lambda do |&statement|
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    result = statement.call
    longest = [longest, Process.clock_gettime(Process::CLOCK_MONOTONIC) - start].max
    result
  end
  db = SQLite3::Database.new(ARGV[0])
  db.busy_timeout(line.to_i) if line.to_i > 0
  outcome = "done"
  begin
    timed.call { db.execute("CREATE TABLE IF NOT EXISTS blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL)") }
    now = Time.now.to_i
    (1..20).each do |host|
      ip = "203.0.113.#{host}"
      timed.call { db.execute("INSERT INTO blacklist VALUES (?,?,?)", [ip, now, 3]) }
      counted += 3 if host == 1
      sum = timed.call { db.get_first_value("SELECT SUM(count) FROM blacklist WHERE ip = ? AND timestamp >= ?", [ip, now - 24 * 3600]) }
      abort "#{ip}: the last 24 hours have #{sum}, and #{counted} were counted" if host == 1 && sum != counted
    end
  rescue SQLite3::BusyException
    outcome = "busy"
  end
  db.close
  puts "#{counted} #{(longest * 1000).ceil} #{outcome}"
end
