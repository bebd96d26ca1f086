-- Run by the mysql service of docker-compose.yml when its volume is new. The user that the harness connects as has what
-- the migrations need, in its own schemas only; it creates them itself.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `orders`.* TO 'orders'@'%' WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `inventory`.* TO 'orders'@'%' WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `payments`.* TO 'orders'@'%' WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `notifications`.* TO 'orders'@'%' WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `operations`.* TO 'orders'@'%' WITH GRANT OPTION;
-- It makes the users of the functions, and reads what they have.
GRANT CREATE USER ON *.* TO 'orders'@'%';
GRANT SELECT ON `mysql`.* TO 'orders'@'%';
