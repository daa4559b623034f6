# Which bank has which client. The first line that fits decides; the order of the clients is kept.
#
#     awk -F, -f split.awk default_of_credit_card_clients.csv
#
# writes bank-a.csv to bank-e.csv here. Of every client: $2 is LIMIT_BAL, $4 EDUCATION, $6 AGE.
function bank() {
    if ($2 >= 400000) return "bank-b"   # wealthy clients
    if ($6 <= 26) return "bank-a"       # students and first jobs
    if ($2 <= 60000) return "bank-d"    # small limits
    if ($4 == 1) return "bank-c"        # graduate school
    return "bank-e"                     # everybody else
}

NR == 1 {
    for (letter = 1; letter <= 5; letter++)
        print > ("bank-" substr("abcde", letter, 1) ".csv")
    next
}

{ print > (bank() ".csv") }
