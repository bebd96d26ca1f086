-- Run by the mysql service of docker-compose.yml when its volume is new. The user that the harness connects as has what
-- the migrations and the queries need, in its own schemas only; it creates them itself.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `orders`.* TO 'orders'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `inventory`.* TO 'orders'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `notifications`.* TO 'orders'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `operations`.* TO 'orders'@'%';
