"""What a release manager asks for: windows, rehearsals, tickets, checklists, mail. No Ansible."""
